"""Profiles: what a server is started with and which scenarios it is measured on, as TOML files that a user can add to.

A profile is one of ours (``profiles/<name>.toml``) or a path to a file of the same form; every key is checked, so that a
misspelt one is an error and not a default (profiles/schema.py). It may be derived from another (profiles/derived.py).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunefork.base import toml
from tunefork.base.errors import BadInput
from tunefork.base.near import near
from tunefork.bench.profiles.derived import Difference, derive

PROFILES = Path(__file__).with_name("servers")
TINY = "tiny"
"""The model that is made on this machine (serving/tiny) and not fetched."""

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
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

    @property
    def most_conc(self) -> int:
        """The greatest concurrency of its loads."""
        return max(conc for one in self.scenarios for conc in one.conc)

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
    if not NAME.fullmatch(name_or_path) or not is_file(path):
        path = beside.parent / name_or_path
        if not is_file(path):
            meant = near(name_or_path, names()) or names()
            raise BadInput(f"no profile {name_or_path!r}: expected one of {', '.join(names())}, or a TOML file", f"--profile {meant[0]}")
    return toml.read(path), path


def is_file(path: Path) -> bool:
    """Also of a text that is no path (a record's profile may be anything), which pathlib takes amiss."""
    return os.path.isfile(path)  # noqa: PTH113


def parse(data: dict[str, Any], path: Path) -> Profile:
    """Check the keys of one profile file."""
    from tunefork.bench.profiles import schema

    data, differences = derive(data, path, read)
    file = schema.check(data, path)
    return Profile(
        name=path.stem,
        description=file.description,
        path=path,
        targets=file.targets,
        model=file.model,
        served_name=file.served_name,
        port=file.port,
        ready_timeout_s=float(file.ready_timeout_s),
        server=file.server,
        environment=file.environment,
        scenarios=tuple(ScenarioSet(isl=each.isl, osl=each.osl, conc=each.conc) for each in file.scenarios),
        gates=file.gates,
        differences=differences,
    )
