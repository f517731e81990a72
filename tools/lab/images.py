"""Container images, each made once from a recipe directory and known by a hash of what it is made from."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.context import OWNER_LABEL, Lab, LabError, digest_of, digest_of_tree
from lab.steps import Step

PREFIX = "private-llm-lab"
SUITES = ("trixie", "bookworm")
ROOTFS_PACKAGES = ("ca-certificates", "passwd", "tini")
APT_SETTINGS = 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n'
LOCAL_CERTIFICATES = Path("/usr/local/share/ca-certificates")
# So many builds of one image stay; older ones would only eat the disk.
KEPT_BUILDS = 3
# Images that stand on another service's image instead of on the base.
STANDS_ON = {"langfuse-worker-stand-in": "langfuse-stand-in"}
# Files of the repository that a recipe finds in shared/ of its build context, so that there is one of each.
SHARED_FILES = {
    "langfuse-stand-in": ("roles/langfuse/files/variables.json",),
    "clickhouse-stand-in": ("roles/clickhouse/files/system_logs.json",),
}


@dataclass(frozen=True)
class Recipe:
    """An image of images/: what it is built on and the alias under which others find it."""

    name: str
    parent: str
    alias: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.alias}" if self.alias in SUITES else self.name

    @property
    def tag(self) -> str:
        return f"{PREFIX}/{self.name}:{self.alias}"


def host_recipes(suite: str) -> list[Recipe]:
    return [
        Recipe("base", "rootfs", suite),
        Recipe("host-plain", "base", suite),
        Recipe("host", "host-plain", suite),
    ]


def service_recipes(names: Sequence[str]) -> list[Recipe]:
    return [Recipe(name, STANDS_ON.get(name, "base"), "current") for name in names]


def step_name(recipe: Recipe) -> str:
    return f"image {recipe.label}"


def declared_arguments(dockerfile: str) -> set[str]:
    """The build arguments that a Dockerfile asks for; giving it others is an error in some builders."""
    return set(re.findall(r"^\s*ARG\s+([A-Za-z_][A-Za-z0-9_]*)", dockerfile, flags=re.MULTILINE))


def image_id(lab: Lab, reference: str) -> str | None:
    return lab.image_ids().get(reference)


class RootFileSystem(Step):
    """Debian itself: by mmdebstrap where we are root, else the official image."""

    def __init__(self, lab: Lab, suite: str) -> None:
        super().__init__(lab, f"image rootfs {suite}", needs=("engine",))
        self.suite = suite
        self.tag = f"{PREFIX}/rootfs:{suite}"

    def _by_mmdebstrap(self) -> bool:
        return self.lab.is_root and self.lab.which("mmdebstrap") is not None

    def fingerprint(self) -> str:
        return digest_of(self.suite, "mmdebstrap" if self._by_mmdebstrap() else "official", *ROOTFS_PACKAGES)

    def is_present(self) -> bool:
        return image_id(self.lab, self.tag) is not None

    def make(self) -> None:
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        if self._by_mmdebstrap():
            self._debootstrap(log)
        else:
            official = f"debian:{self.suite}-slim"
            self.lab.docker(
                "pull",
                official,
                log=log,
                failure=f"The image {official} cannot be pulled; run as root to have Debian's packages used, or reach a container registry",
            )
            self.lab.docker("tag", official, self.tag)

    def _debootstrap(self, log: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="private-llm-lab-", dir=roomy_temporary_directory()) as place:
            archive = Path(place) / "rootfs.tar"
            command: list[str | Path] = [
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                "--skip=check/qemu",
                f"--include={','.join(ROOTFS_PACKAGES)}",
                '--aptopt=APT::Install-Recommends "false"',
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                self.suite,
                archive,
            ]
            if mirror := debian_mirror(self.lab):
                command += [f"deb {mirror} {self.suite} main", f"deb {mirror} {self.suite}-updates main"]
                if security := debian_mirror(self.lab, security=True):
                    command.append(f"deb {security} {self.suite}-security main")
            self.lab.run(
                command,
                log=log,
                environment={"TMPDIR": place},
                failure=f"Debian {self.suite} could not be made from its packages; look at the network and apt's configuration",
            )
            self.lab.docker("import", archive, self.tag, log=log)


def debian_mirror(lab: Lab, security: bool = False) -> str | None:
    """The Debian mirror that this machine's own apt uses; None leaves the choice to mmdebstrap."""
    outcome = (
        lab.attempt(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages", "Origin: Debian"])
        if lab.which("apt-get")
        else None
    )
    if outcome is None or outcome.returncode != 0:
        return None
    return pick_mirror(outcome.stdout, security)


def pick_mirror(index_targets: str, security: bool = False) -> str | None:
    for line in index_targets.splitlines():
        address, _space, _release = line.strip().partition(" ")
        is_security = "security" in address.rstrip("/").rsplit("/", 1)[-1]
        if address.startswith(("http://", "https://")) and is_security == security:
            return address.rstrip("/")
    return None


def roomy_temporary_directory(needed: int = 1_500_000_000) -> str | None:
    """A memory file system where it has the room: making a root file system there takes half the time."""
    shared = Path("/dev") / "shm"
    if shared.is_dir() and shutil.disk_usage(shared).free > 2 * needed and available_memory() > 3 * needed:
        return str(shared)
    return None


def available_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Image(Step):
    """An image built from images/<name>."""

    def __init__(self, lab: Lab, recipe: Recipe, parent_alias: str) -> None:
        self.recipe = recipe
        self.parent_alias = parent_alias
        parent = Recipe(recipe.parent, "", parent_alias)
        super().__init__(lab, step_name(recipe), needs=(step_name(parent),))
        self.directory = lab.repository / "images" / recipe.name
        self.parent_tag = parent.tag
        self._parent_id: str | None = None

    # -- what it is made from --------------------------------------------------------------------------------------

    def fingerprint(self) -> str:
        if not (self.directory / "Dockerfile").is_file():
            raise LabError(f"The recipe images/{self.recipe.name}/Dockerfile is missing from this checkout.")
        if self._parent_id is None:
            self._parent_id = image_id(self.lab, self.parent_tag) or ""
        arguments = [f"{key}={value}" for key, value in sorted(self._machine_arguments().items())]
        machine = [f"{name}\0{content}" for name, content in sorted(self._files_from_elsewhere().items())]
        return digest_of(digest_of_tree(self.directory), self._parent_id, *arguments, *machine)

    @property
    def hashed_tag(self) -> str:
        return f"{PREFIX}/{self.recipe.name}:{self.fingerprint()[:12]}"

    def _dockerfile(self) -> str:
        return (self.directory / "Dockerfile").read_text()

    def _machine_arguments(self) -> dict[str, str]:
        asked = declared_arguments(self._dockerfile())
        known = {"PIP_INDEX_URL": self.lab.pip_index, "NPM_REGISTRY": self.lab.npm_registry}
        return {name: value for name, get in known.items() if name in asked and (value := get())}

    def _files_from_elsewhere(self) -> dict[str, str]:
        """What a build context holds besides its recipe."""
        shared = [self.lab.repository / name for name in SHARED_FILES.get(self.recipe.name, ())]
        return {**self._machine_files(), **{f"shared/{path.name}": path.read_text() for path in shared}}

    def _machine_files(self) -> dict[str, str]:
        """What a recipe may take over from this machine, in machine/ of its build context."""
        if "machine/" not in self._dockerfile():
            return {}
        files = {"machine/apt/90lab": APT_SETTINGS + apt_proxies(self.lab)}
        if LOCAL_CERTIFICATES.is_dir():
            for certificate in sorted(LOCAL_CERTIFICATES.rglob("*.crt")):
                flat = "-".join(certificate.relative_to(LOCAL_CERTIFICATES).parts)
                files[f"machine/ca-certificates/{flat}"] = certificate.read_text()
        return files

    # -- the step --------------------------------------------------------------------------------------------------

    def is_present(self) -> bool:
        built = image_id(self.lab, self.hashed_tag)
        return built is not None and image_id(self.lab, self.recipe.tag) == built

    def make(self) -> None:
        # Asked once: the recipe may be edited while it is being built.
        tag = self.hashed_tag
        if image_id(self.lab, tag) is None:
            self._build(tag)
        self.lab.docker("tag", tag, self.recipe.tag)
        self._remove_older()

    def _build(self, tag: str) -> None:
        log = self.lab.log_of(self.name)
        log.unlink(missing_ok=True)
        arguments: list[str] = []
        for name, value in self._machine_arguments().items():
            arguments += ["--build-arg", f"{name}={value}"]
        with tempfile.TemporaryDirectory(prefix="private-llm-lab-") as place:
            context = Path(place) / self.recipe.name
            shutil.copytree(self.directory, context, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            (context / "machine" / "ca-certificates").mkdir(parents=True, exist_ok=True)
            (context / "machine" / "apt").mkdir(parents=True, exist_ok=True)
            (context / "shared").mkdir(exist_ok=True)
            for name, content in self._files_from_elsewhere().items():
                (context / name).write_text(content)
            self.lab.docker(
                "build",
                "--build-arg",
                f"BASE={self.parent_tag}",
                *arguments,
                "--label",
                OWNER_LABEL,
                "--label",
                f"{PREFIX}.image={self.recipe.label}",
                "--tag",
                tag,
                context,
                log=log,
                failure=f"The image of images/{self.recipe.name} does not build",
            )

    def _remove_older(self) -> None:
        # Listed newest first.
        listed = self.lab.docker(
            "image",
            "ls",
            "--filter",
            f"label={PREFIX}.image={self.recipe.label}",
            "--format",
            "{{.Repository}}:{{.Tag}}",
            f"{PREFIX}/{self.recipe.name}",
        )
        builds = [tag for tag in listed.split() if re.search(r":[0-9a-f]{12}$", tag)]
        for tag in builds[KEPT_BUILDS:]:
            self.lab.docker_attempt("image", "rm", tag)


def apt_proxies(lab: Lab) -> str:
    """The proxy that this machine's apt goes through, as settings for the apt of an image."""
    outcome = lab.attempt(["apt-config", "dump", "--format", "%f %v%n", "Acquire"]) if lab.which("apt-config") else None
    if outcome is None or outcome.returncode != 0:
        return ""
    lines = []
    for line in outcome.stdout.splitlines():
        name, _space, value = line.partition(" ")
        if name.lower() in ("acquire::http::proxy", "acquire::https::proxy") and value:
            lines.append(f'{name} "{value}";\n')
    return "".join(lines)


def image_steps(lab: Lab, suites: Sequence[str], services: Sequence[str]) -> list[Step]:
    """The steps for the hosts of some suites and for the service images, which are made on the first of the known suites."""
    first: list[Step] = []
    later: list[Step] = []
    for suite in suites:
        base, *hosts = host_recipes(suite)
        first += [RootFileSystem(lab, suite), Image(lab, base, suite)]
        later += [Image(lab, recipe, suite) for recipe in hosts]
    # The services before the hosts: the longest chain of all is to build the gateway's image and to push it.
    return [*first, *(service_image(lab, recipe) for recipe in service_recipes(services)), *later]


def service_image(lab: Lab, recipe: Recipe) -> Image:
    return Image(lab, recipe, SUITES[0] if recipe.parent == "base" else recipe.alias)
