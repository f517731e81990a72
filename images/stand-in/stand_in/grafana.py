"""Stands in for Grafana: checks what it is provisioned with and shows it by the same addresses; it draws nothing."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from stand_in.server import Answer, Refused, Request, check_keys, log, refuse, serve

TEXT = str
# What Grafana encrypts with when nobody says otherwise.
PUBLIC_SECRET_KEY = "SW2YcwTIb9zpOOhoPsMm"  # noqa: S105 (everybody's)
DATA_SOURCES = {
    "apiVersion": int,
    "prune": bool,
    "datasources": [
        {
            "name": TEXT, "type": TEXT, "uid": TEXT, "access": TEXT, "url": TEXT, "isDefault": bool, "editable": bool, "orgId": int,
            "jsonData": {"*": object}, "correlations": [{"targetUID": TEXT, "label": TEXT, "description": TEXT, "type": TEXT, "config": {"*": object}}],
        }
    ],
}
PROVIDERS = {
    "apiVersion": int,
    "providers": [
        {
            "name": TEXT, "orgId": int, "folder": TEXT, "folderUid": TEXT, "type": TEXT, "disableDeletion": bool, "allowUiUpdates": bool,
            "updateIntervalSeconds": int, "options": {"path": TEXT, "foldersFromFilesStructure": bool},
        }
    ],
}
KNOWN_TYPES = ("prometheus", "loki", "alertmanager")


def data_sources(directory: Path) -> dict[str, Any]:
    """Provisioned data sources by their uid. :raises Refused: as Grafana does, for two defaults or a correlation that leads nowhere."""
    found: dict[str, Any] = {}
    for path in sorted(directory.glob("datasources/*.yaml")):
        # A dollar sign begins the name of a variable of the environment there.
        text = yaml.safe_load(path.read_text())
        check_keys(path.name, text, DATA_SOURCES)
        for source in text["datasources"]:
            if source["type"] not in KNOWN_TYPES:
                raise Refused(f"there is no plug-in for the data source type {source['type']}")
            if source["uid"] in found:
                raise Refused(f"two data sources have the uid {source['uid']}")
            found[source["uid"]] = source
    if sum(bool(source.get("isDefault")) for source in found.values()) > 1:
        raise Refused("Datasource provisioning error: datasource.yaml config is invalid. Only one datasource per organization can be marked as default")
    for source in found.values():
        for correlation in source.get("correlations", []):
            if correlation.get("type") != "external" and correlation["targetUID"] not in found:
                raise Refused(f"a correlation of {source['name']} leads to {correlation['targetUID']}, which is no data source")
    return found


def dashboards(directory: Path) -> dict[str, Any]:
    """Provisioned dashboards by their uid. :raises Refused: for one that Grafana would not load."""
    found: dict[str, Any] = {}
    for path in sorted(directory.glob("dashboards/*.yaml")):
        text = yaml.safe_load(path.read_text())
        check_keys(path.name, text, PROVIDERS)
        for provider in text["providers"]:
            for file in sorted(Path(provider["options"]["path"]).rglob("*.json")):
                board = json.loads(file.read_text())
                if not board.get("title") or not board.get("uid") or len(board["uid"]) > 40 or board["uid"] in found:
                    raise Refused(f"{file.name} has no title, or no uid of its own")
                if "spec" in board or not isinstance(board.get("panels"), list):
                    raise Refused(f"{file.name} is not in the classic form, which is the only one that file provisioning takes")
                found[board["uid"]] = {**board, "folder": provider["folder"]}
    return found


def main(_arguments: list[str]) -> int:
    """The program; its settings are GF_SECTION_KEY, or GF_SECTION_KEY__FILE for what is in a file."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("GF_") and not name.endswith("__FILE")}
    try:
        for name, path in os.environ.items():
            if name.startswith("GF_") and name.endswith("__FILE"):
                settings[name.removesuffix("__FILE")] = Path(path).read_text().strip()
        if settings.get("GF_SECURITY_SECRET_KEY", PUBLIC_SECRET_KEY) == PUBLIC_SECRET_KEY:
            raise Refused("GF_SECURITY_SECRET_KEY is Grafana's own, which everybody knows")
        provisioning = Path(settings["GF_PATHS_PROVISIONING"])
        sources, boards = data_sources(provisioning), dashboards(provisioning)
        home = settings.get("GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH")
        if home and not Path(home).is_file():
            raise Refused(f"the home dashboard {home} is not there")
        Path(settings["GF_PATHS_DATA"], "grafana.db").touch()
    except (Refused, KeyError, OSError, ValueError, yaml.YAMLError) as problem:
        return refuse(problem)
    login = f"{settings.get('GF_SECURITY_ADMIN_USER', 'admin')}:{settings.get('GF_SECURITY_ADMIN_PASSWORD', 'admin')}"
    allowed = "Basic " + base64.b64encode(login.encode()).decode()

    def handle(request: Request) -> Answer:
        if request.path == "/api/health":
            return Answer({"database": "ok", "version": "stand-in"})
        if request.path == "/metrics":
            return Answer(f"# TYPE grafana_stat_totals_dashboard gauge\ngrafana_stat_totals_dashboard {len(boards)}\n")
        if request.headers.get("Authorization") != allowed:
            return Answer({"message": "Unauthorized"}, 401)
        if request.path == "/api/datasources":
            return Answer(list(sources.values()))
        if request.path == "/api/search":
            return Answer([{"uid": uid, "title": board["title"], "folderTitle": board["folder"]} for uid, board in boards.items()])
        if request.path.startswith("/api/dashboards/uid/"):
            board = boards.get(request.path.rpartition("/")[2])
            return Answer({"dashboard": board}) if board else Answer({"message": "Dashboard not found"}, 404)
        if request.path.startswith("/api/datasources/proxy/uid/"):
            return proxied(sources, request)
        return Answer({"message": "Not found"}, 404)

    log("info", f"this is a stand-in for Grafana, with {len(sources)} data sources and {len(boards)} dashboards")
    serve(int(settings.get("GF_SERVER_HTTP_PORT", "3000")), handle)
    return 0


def proxied(sources: dict[str, Any], request: Request) -> Answer:
    """What a data source answers, asked from inside this container."""
    uid, _slash, path = request.path.removeprefix("/api/datasources/proxy/uid/").partition("/")
    if uid not in sources:
        return Answer({"message": "Unable to find datasource"}, 404)
    url = f"{sources[uid]['url']}/{path}?{urllib.parse.urlencode(request.query)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return Answer(answer.read(), answer.status)
    except urllib.error.HTTPError as error:
        return Answer(error.read(), error.code)
    except OSError as error:
        return Answer(str(error), 502)
