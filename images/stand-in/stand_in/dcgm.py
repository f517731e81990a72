"""Stands in for NVIDIA's DCGM exporter: shows the counters of its list, for one card that does not exist."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from stand_in.server import Answer, Refused, Request, log, refuse, serve

ROW = re.compile(r"(DCGM_(?:FI|EXP)_[A-Z0-9_]+), (gauge|counter|label), ([^,]+)")
LABELS = 'gpu="0",UUID="GPU-stand-in",device="nvidia0",modelName="stand-in",hostname="stand-in"'
# What an idle card shows; everything else is 0.
VALUES = {"DCGM_FI_DEV_GPU_TEMP": 41, "DCGM_FI_DEV_MEMORY_TEMP": 9223372036854775794, "DCGM_FI_DEV_POWER_USAGE": 55, "DCGM_FI_DEV_SM_CLOCK": 345,
          "DCGM_FI_DEV_FB_FREE": 60000, "DCGM_FI_DEV_FB_USED": 20000, "DCGM_FI_DEV_FB_RESERVED": 500}


def rows(path: str) -> list[tuple[str, str, str]]:
    """The list of counters. :raises Refused: when a row is not FIELD, KIND, HELP."""
    found = []
    for number, line in enumerate(Path(path).read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        row = ROW.fullmatch(line.strip())
        if row is None:
            raise Refused(f"{path}:{number}: record on this line has the wrong number of fields, or no field of DCGM: {line}")
        found.append((row.group(1), row.group(2), row.group(3)))
    if not found:
        raise Refused(f"{path} names no counter")
    return found


def main(_arguments: list[str]) -> int:
    """The program; its settings are DCGM_EXPORTER_LISTEN and DCGM_EXPORTER_COLLECTORS."""
    try:
        counters = rows(os.environ["DCGM_EXPORTER_COLLECTORS"])
        int(os.environ.get("DCGM_EXPORTER_INTERVAL", "30000"))
        port = int(os.environ.get("DCGM_EXPORTER_LISTEN", ":9400").rpartition(":")[2])
    except (Refused, KeyError, OSError, ValueError) as problem:
        return refuse(problem)
    started = time.monotonic()

    def handle(request: Request) -> Answer:
        if request.path == "/health":
            return Answer("OK")
        if request.path != "/metrics":
            return Answer("not found", 404)
        lines = []
        for field, kind, about in counters:
            # Watched by the exporter itself, which shows a count for each code only once there was one.
            if field == "DCGM_EXP_XID_ERRORS_COUNT":
                continue
            value = VALUES.get(field, int(time.monotonic() - started) if field.endswith("ENERGY_CONSUMPTION") else 0)
            lines += [f"# HELP {field} {about}", f"# TYPE {field} {kind}", f"{field}{{{LABELS}}} {value}"]
        return Answer("\n".join(lines) + "\n")

    log("info", "this is a stand-in for the DCGM exporter")
    serve(port, handle)
    return 0
