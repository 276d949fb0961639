"""Profiles: what a server is started with and which scenarios it is measured on, as TOML files that a user can add to.

A profile is one of ours (``profiles/<name>.toml``) or a path to a file of the same form; every key is checked, so that a
misspelt one is an error and not a default. It may be derived from another (profiles/derived.py).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput
from tunefork.bench.profiles.derived import Difference, derive

PROFILES = Path(__file__).with_name("servers")
TARGETS = ("cpu", "gfx950")
TINY = "tiny"
"""The model that is made on this machine (serving/tiny) and not fetched."""

FLAG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
SIZE_RANGE = re.compile(r"(\d+)-(\d+)/(\d+)")
# These flags come from the profile's own keys or from the command line.
RESERVED = {"model": "model", "served-model-name": "served_name", "host": "--host", "port": "port"}
PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")


@dataclass(frozen=True)
class ScenarioSet:
    """One load: input and output tokens per request, and the numbers of concurrent requests to measure."""

    isl: int
    osl: int
    conc: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """How to serve, and on what to measure.

    model: a Hugging Face id, a path, or "tiny".  targets: which installs can serve it.
    ready_timeout_s: seconds a first start may take, compilation included.
    server: flags of `vllm serve` without dashes; True is `--flag`, False `--no-flag`, a table is passed as JSON.
    environment: variables set for the server, over those of the shell.
    gates: accuracy bounds, baselines and leaderboard (profiles/rules.py), for a profile that is not ours or is derived.
    differences: from the base, for a derived one.
    """

    name: str
    description: str
    path: Path
    targets: tuple[str, ...]
    model: str
    served_name: str
    port: int
    ready_timeout_s: float
    server: dict[str, Any]
    environment: dict[str, str]
    scenarios: tuple[ScenarioSet, ...]
    gates: str | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def gpus(self) -> int:
        """Devices that one server uses: tensor x pipeline x data parallel."""
        product = 1
        for flag in PARALLEL:
            product *= int(self.server.get(flag, 1))
        return product

    def with_tensor_parallel(self, size: int) -> Profile:
        """The same profile over another number of GPUs."""
        if size < 1:
            raise BadInput(f"--tp {size}: a tensor-parallel size is 1 or more", "--tp 8")
        return replace(self, server={**self.server, "tensor-parallel-size": size})


def names() -> list[str]:
    """The profiles that come with Tunefork."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load(name_or_path: str) -> Profile:
    """Read and check a profile; BadInput names the file and the key."""
    data, path = read(name_or_path, Path())
    return parse(data, path)


def read(name_or_path: str, beside: Path) -> tuple[dict[str, Any], Path]:
    """A profile's file as data, and its path. beside: the file that names it, whose folder relative paths start from."""
    path = PROFILES / f"{name_or_path}.toml"
    if not FLAG.fullmatch(name_or_path) or not path.is_file():
        path = beside.parent / name_or_path
        if not path.is_file():
            raise BadInput(f"no profile {name_or_path!r}: expected one of {', '.join(names())}, or a TOML file",
                           f"--profile {names()[0]}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), path
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}", "correct the file") from None


def parse(data: dict[str, Any], path: Path) -> Profile:
    """Check the keys of one profile file."""
    data, differences = derive(data, path, read)
    table = Table(path, "", data)
    profile = Profile(
        name=path.stem,
        description=table.take("description", str),
        path=path,
        targets=tuple(table.one_of("targets", TARGETS)),
        model=table.take("model", str),
        served_name=table.take("served_name", str),
        port=table.port("port"),
        ready_timeout_s=float(table.positive("ready_timeout_s")),
        server=server_flags(Table(path, "server.", table.take("server", dict))),
        environment=environment(Table(path, "environment.", table.take("environment", dict, {}))),
        scenarios=tuple(scenario(Table(path, f"scenarios[{i}].", item))
                        for i, item in enumerate(table.take("scenarios", list))),
        gates=table.take("gates", str) if "gates" in data else None,
        differences=differences,
    )
    table.done()
    return profile


def server_flags(table: Table) -> dict[str, Any]:
    """The [server] table, with size ranges written out."""
    flags: dict[str, Any] = {}
    for key in list(table.data):
        value = table.take(key, (bool, int, float, str, dict))
        if key in RESERVED:
            raise table.bad(key, f"this flag is set by `{RESERVED[key]}`", f"remove it from [server]; set `{RESERVED[key]}`")
        if not FLAG.fullmatch(key):
            raise table.bad(key, "expected a flag of `vllm serve` without its dashes, such as max-model-len", "rename it")
        if key in PARALLEL and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise table.bad(key, f"expected a positive integer, got {value!r}", f"{key} = 8")
        flags[key] = with_sizes(value, table, key)
    return flags


def environment(table: Table) -> dict[str, str]:
    """The [environment] table: names in capitals, values as strings."""
    found = {key: table.take(key, str) for key in list(table.data)}
    for key in found:
        if not ENVIRONMENT_NAME.fullmatch(key):
            raise table.bad(key, "expected an environment variable's name in capitals", "rename it")
    return found


def scenario(table: Table) -> ScenarioSet:
    """One [[scenarios]] entry."""
    conc = table.take("conc", list)
    if not conc or any(isinstance(item, bool) or not isinstance(item, int) or item < 1 for item in conc):
        raise table.bad("conc", f"expected a list of positive integers, got {conc!r}", "conc = [4, 8]")
    made = ScenarioSet(isl=table.positive("isl"), osl=table.positive("osl"), conc=tuple(conc))
    table.done()
    return made


def with_sizes(value: Any, table: Table, key: str) -> Any:
    """Lists under keys that end in ``_sizes`` may hold ranges: "4-128/2" is 4, 6, ..., 128, both ends included."""
    if isinstance(value, dict):
        return {inner: with_sizes(item, table, f"{key}.{inner}") for inner, item in value.items()}
    if not (key.endswith("_sizes") and isinstance(value, list)):
        return value
    sizes: list[int] = []
    for item in value:
        found = SIZE_RANGE.fullmatch(item) if isinstance(item, str) else None
        if found:
            first, last, step = map(int, found.groups())
            if step < 1 or last < first or (last - first) % step:
                raise table.bad(key, f"{item!r} does not reach its end", '"4-128/2" is 4, 6, ..., 128')
            sizes += range(first, last + 1, step)
        elif isinstance(item, int) and not isinstance(item, bool) and item > 0:
            sizes.append(item)
        else:
            raise table.bad(key, f"expected positive integers or ranges, got {item!r}", '[1, 2, "4-128/2"]')
    return sizes


class Table:
    """One table of a profile file: hands out its keys checked, then refuses those that nobody asked for."""

    def __init__(self, path: Path, prefix: str, data: Any) -> None:
        self.path, self.prefix, self.data = path, prefix, data
        if not isinstance(data, dict):
            raise BadInput(f"{path}: {prefix.rstrip('.')}: expected a table, got {data!r}", "write it as a [table]")
        self.taken: set[str] = set()

    def bad(self, key: str, what: str, remedy: str) -> BadInput:
        return BadInput(f"{self.path}: {self.prefix}{key}: {what}", remedy)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        self.taken.add(key)
        value = self.data.get(key, default)
        if value is None:
            raise self.bad(key, "missing", f"add `{key}` (see {PROFILES / 'smoke.toml'})")
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds) or value == "":
            expected = " or ".join(item.__name__ for item in kinds)
            raise self.bad(key, f"expected {expected}, got {value!r}", "correct the value")
        return value

    def positive(self, key: str) -> int:
        value: int = self.take(key, int)
        if value < 1:
            raise self.bad(key, f"expected a positive integer, got {value}", "correct the value")
        return value

    def port(self, key: str) -> int:
        value = self.positive(key)
        if value > 65535:
            raise self.bad(key, f"expected a port up to 65535, got {value}", "correct the value")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...]) -> list[str]:
        values: list[str] = self.take(key, list)
        if not values or any(value not in allowed for value in values):
            raise self.bad(key, f"expected some of {', '.join(allowed)}, got {values!r}", f'{key} = ["{allowed[0]}"]')
        return values

    def done(self) -> None:
        unknown = sorted(set(self.data) - self.taken)
        if unknown:
            raise self.bad(unknown[0], f"no such key; known: {', '.join(sorted(self.taken))}", "remove or rename it")
