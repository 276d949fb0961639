"""The finalist as a profile of its own: a TOML file that `serve --profile` and `bench run --profile` take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunefork.base.files import write_atomically
from tunefork.base.visible import visible
from tunefork.bench.campaign.planned import Planned, named
from tunefork.bench.campaign.racing import Arm
from tunefork.bench.errors import AccuracyMissed, AccuracyUnknown, ConfigurationsFailed, NothingMeasured
from tunefork.bench.profiles import profile as profiles

FILE = "proposal.toml"

MISSED = "accuracy missed"
CODES = {0: "passed", AccuracyMissed.code: MISSED, AccuracyUnknown.code: "accuracy unknown", ConfigurationsFailed.code: "some configurations failed",
         NothingMeasured.code: "nothing measured"}
"""What an exit code of `bench run` says of the finalist."""


def toml(value: Any) -> str:
    """A value as TOML writes it. JSON's strings, numbers, booleans and lists are TOML's."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def text(planned: Planned, arm: Arm) -> str:
    """The whole file. It stands alone: a derived profile cannot be derived from again."""
    base = profiles.load(planned.profile)
    made = planned.served(arm)
    # A derived profile of ours has its base's gates; one of the user's says whose, or has none.
    said = f"{named(arm)} of campaign {planned.name}, over profile {planned.profile}. Patches: --variant {planned.variant(arm)}"
    lines = [f"# {' '.join(visible(said).split())}",  # one line: a name in a handed-over plan may hold several
             f"description = {toml(f'{base.description}; {named(arm)}')}", f"targets = {toml(base.targets)}", f"model = {toml(base.model)}",
             f"served_name = {toml(base.served_name)}", f"port = {base.port}", f"ready_timeout_s = {int(base.ready_timeout_s)}",
             *([f"gates = {toml(base.gates or base.name)}"] if base.gates or base.path.parent == profiles.PROFILES else []),
             "", "[server]", *(f"{key} = {toml(value)}" for key, value in made.server.items()),
             "", "[environment]", *(f"{key} = {toml(value)}" for key, value in made.environment.items())]
    for load in base.scenarios:
        lines += ["", "[[scenarios]]", f"isl = {load.isl}", f"osl = {load.osl}", f"conc = {toml(load.conc)}"]
    return "\n".join(lines) + "\n"


def write(where: Path, planned: Planned, arm: Arm) -> Path:
    path = where / FILE
    write_atomically(path, text(planned, arm).encode())
    return path
