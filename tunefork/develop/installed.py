"""What the running interpreter's environment holds, read from its folders; and the mark of a finished `develop`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tunefork.base.files import write_atomically
from tunefork.base.process import ask
from tunefork.base.typed import typed

# Asks a fresh interpreter, because this one started before anything was installed. -P: the current folder is not searched.
FIND = (
    "import importlib.util, json, sys\n"
    "found = {name: importlib.util.find_spec(name) for name in sys.argv[1:]}\n"
    "print(json.dumps({name: spec and spec.origin for name, spec in found.items()}))"
)


@dataclass(frozen=True)
class Distribution:
    """An installed distribution. editable: the folder it is installed from, or None."""

    name: str
    version: str
    editable: Path | None


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def distributions(search: Iterable[str] | None = None) -> dict[str, Distribution]:
    """The installed distributions by normalised name; of several the first on the path counts, as for an import."""
    found: dict[str, Distribution] = {}
    for entry in sys.path if search is None else search:
        folder = Path(entry)
        for info in sorted(folder.glob("*.dist-info")) if entry and folder.is_dir() else ():
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            if version and normalised(name) not in found:
                found[normalised(name)] = Distribution(normalised(name), version, editable_folder(info))
    return found


def editable_folder(info: Path) -> Path | None:
    """The folder of an editable install, from pip's record of it."""
    try:
        record = json.loads((info / "direct_url.json").read_bytes())
        editable = record["dir_info"]["editable"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Path(unquote(urlsplit(record["url"]).path)) if editable else None


def locked(requirements: Path) -> dict[str, str]:
    """The exact versions of a locked requirements file, by normalised name."""
    pins = {}
    for line in requirements.read_text().splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement:
            name, _, version = requirement.partition("==")
            pins[normalised(name)] = version
    return pins


def unmet(pins: Mapping[str, str], present: Mapping[str, Distribution]) -> list[str]:
    """The locked distributions that are missing or of another version. A local version (``+cpu``) satisfies its public one."""

    def same(wanted: str, found: Distribution | None) -> bool:
        return found is not None and wanted in (found.version, found.version.partition("+")[0])

    return [name for name, version in pins.items() if not same(version, present.get(name))]


def anew(name: str) -> str:
    """The command that puts an installed package there again, whatever is left of it: pip takes what its record names for whole."""
    found = distributions().get(name)
    version = f"=={found.version.partition('+')[0]}" if found else ""
    return f"{typed(sys.executable)} -m pip install --force-reinstall --no-deps {name}{version}"


def import_paths(*packages: str, env: Mapping[str, str] | None = None) -> dict[str, Path | None]:
    """The file each package would be imported from by a fresh interpreter, without importing it."""
    command = [sys.executable, "-P", "-c", FIND, *packages]
    done = ask(command, cwd=Path("/"), env=env or None)
    if done.returncode:
        return dict.fromkeys(packages)
    origins = json.loads(done.stdout.splitlines()[-1])
    return {name: Path(origin) if origin else None for name, origin in origins.items()}


@dataclass(frozen=True)
class Mark:
    """What a finished `develop` left in this environment. Written last, so an interrupted one is not taken for finished.

    path: vLLM's checkout.  distribution, version: of the editable install and of the tree.  lock: sha256 of the requirements.
    compiled: native digest per upstream.
    """

    target: str
    path: str
    distribution: str
    version: str
    lock: str
    compiled: dict[str, str]


def mark_path() -> Path:
    return Path(sys.prefix) / "tunefork-develop.json"


def read_mark() -> Mark | None:
    """The mark of this environment; None where there is none or it is not readable."""
    try:
        return Mark(**json.loads(mark_path().read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def installed_target() -> str | None:
    """The target of the installed vLLM, None where there is none."""
    mark = read_mark()
    return mark.target if mark else None


def write_mark(mark: Mark) -> None:
    write_atomically(mark_path(), json.dumps(asdict(mark), indent=1).encode())
