"""A space: which flags and variables of a server may be changed, to what, and which of them go together.

    description = "..."
    [[knobs]]
    key = "server.max-num-seqs"          # below server or environment, tables by dots, as in a derived profile
    values = [64, 128]                   # a value that the profile has already is no candidate
    why = "..."
    [[constraints]]
    when = { "server.enable-chunked-prefill" = false }     # optional: where all of these hold
    require = "server.max-num-batched-tokens >= server.max-model-len"
    why = "..."

A constraint speaks only where each key that it names has a value: what vLLM chooses by itself is vLLM's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tunefork.base import toml
from tunefork.base.errors import BadInput
from tunefork.bench.profiles.profile import Profile

SPACES = Path(__file__).with_name("spaces")
TABLES = ("server", "environment")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt}
GPUS = "gpus"
"""What a constraint calls the devices of one server."""


@dataclass(frozen=True)
class Knob:
    """One key and the values to try."""

    key: str
    values: tuple[Any, ...]
    why: str

    def named(self, value: Any) -> str:
        """What a candidate of this knob is called: ``max-num-seqs=64``."""
        return f"{self.key.partition('.')[2]}={str(value).lower() if isinstance(value, bool) else value}"


@dataclass(frozen=True)
class Constraint:
    """left op right, where left is a key and right a key or a number, wherever ``when`` holds."""

    left: str
    operator: str
    right: str
    why: str
    when: Mapping[str, Any] = field(default_factory=dict)

    def broken(self, profile: Profile) -> str:
        """Why a profile breaks it; "" where it holds or does not apply."""
        if any(value_of(profile, key) != value for key, value in self.when.items()):
            return ""
        left, right = value_of(profile, self.left), literal(self.right) if is_literal(self.right) else value_of(profile, self.right)
        try:
            if left is None or right is None or OPERATORS[self.operator](left, right):
                return ""
        except TypeError:  # a word and a number have no order
            return f"{self.left} {left!r} {self.operator} {right!r}: these cannot be compared ({self.why})"
        return f"{self.left} {left} {self.operator} {self.right}{'' if is_literal(self.right) else f' {right}'} does not hold: {self.why}"


@dataclass(frozen=True)
class Space:
    """Knobs and constraints of one file or more."""

    names: tuple[str, ...]
    knobs: tuple[Knob, ...]
    constraints: tuple[Constraint, ...]

    def refuses(self, profile: Profile, gpus: int | None) -> str:
        """Why a server of this profile cannot be in the campaign; "" where it can. gpus: of the machine, None where that is unknown."""
        if gpus is not None and profile.gpus > max(gpus, 1):
            return f"it takes {profile.gpus} GPUs, the campaign has {gpus}"
        return next((why for one in self.constraints if (why := one.broken(profile))), "")


def names() -> list[str]:
    """The spaces that come with Tunefork."""
    return sorted(path.stem for path in SPACES.glob("*.toml"))


def load(*names_or_paths: str) -> Space:
    """Read spaces and put them together; BadInput where one cannot be understood or two have the same key."""
    knobs: dict[str, Knob] = {}
    constraints: list[Constraint] = []
    for each in names_or_paths:
        path = SPACES / f"{each}.toml" if each in names() else Path(each)
        made = read(path)
        for knob in made.knobs:
            if knob.key in knobs:
                raise BadInput(f"{path}: {knob.key} is a knob of another space already", "leave one of the two out")
            knobs[knob.key] = knob
        constraints += [one for one in made.constraints if one not in constraints]
    return Space(names_or_paths, tuple(knobs.values()), tuple(constraints))


def read(path: Path) -> Space:
    """One file."""
    try:
        data = toml.read(path)
    except OSError:
        raise BadInput(f"no space {str(path)!r}: expected one of {', '.join(names())}, or a TOML file", f"--space {names()[0]}") from None
    if unknown := sorted(set(data) - {"description", "knobs", "constraints"}):
        wrong(path, unknown[0], "no such key; known: constraints, description, knobs")
    knobs = tuple(knob(path, place, item) for place, item in enumerate(listed(path, data, "knobs")))
    return Space((path.stem,), knobs, tuple(constraint(path, place, item) for place, item in enumerate(listed(path, data, "constraints"))))


def listed(path: Path, data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = data.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        wrong(path, name, f"expected [[{name}]] tables, got {found!r}")
    return found


def knob(path: Path, place: int, item: dict[str, Any]) -> Knob:
    """One [[knobs]] table."""
    here = f"knobs[{place}]"
    if set(item) != {"key", "values", "why"} or not str(item.get("why")).strip():
        wrong(path, here, f"expected key, values and why, got {', '.join(sorted(item))}")
    key, values = str(item["key"]), item["values"]
    if key.partition(".")[0] not in TABLES or not key.partition(".")[2]:
        wrong(path, here, f"{key} is in neither {' nor '.join(TABLES)}")
    if not all(key.split(".")) or (key.startswith("environment.") and key.count(".") > 1):
        wrong(path, here, f"{key!r} is no key: a table, a dot, and a name; of a variable no dots within")
    if not isinstance(values, list) or not values or len({repr(one) for one in values}) != len(values):
        wrong(path, here, f"{key}: expected a list of different values, got {values!r}")
    if key.startswith("environment.") and not all(isinstance(one, str) for one in values):
        wrong(path, here, f"{key}: a variable's values are strings, got {values!r}")
    return Knob(key, tuple(values), str(item["why"]))


def constraint(path: Path, place: int, item: dict[str, Any]) -> Constraint:
    """One [[constraints]] table."""
    here = f"constraints[{place}]"
    words = str(item.get("require", "")).split()
    if not {"require", "why"} <= set(item) <= {"require", "why", "when"} or len(words) != 3 or words[1] not in OPERATORS:
        wrong(path, here, f"expected require = \"KEY <= KEY-or-value\" (one of {' '.join(OPERATORS)}) and why, got {item!r}")
    if not isinstance(item.get("when", {}), dict):
        wrong(path, here, f"expected when = {{ KEY = value }}, got {item['when']!r}")
    for key in (words[0], *([] if is_literal(words[2]) else [words[2]]), *item.get("when", {})):
        if key != GPUS and key.partition(".")[0] not in TABLES:
            wrong(path, here, f"{key} is in neither {' nor '.join(TABLES)}")
    return Constraint(words[0], words[1], words[2], str(item["why"]), item.get("when", {}))


def wrong(path: Path, where: str, what: str) -> NoReturn:
    raise BadInput(f"{path}: {where}: {what}", f"see {SPACES / 'scheduling.toml'}")


def value_of(profile: Profile, key: str) -> Any:
    """What a profile says of a key, None where it says nothing."""
    if key == GPUS:
        return profile.gpus
    table, *rest = key.split(".")
    found: Any = profile.server if table == "server" else profile.environment
    for name in rest:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def is_literal(word: str) -> bool:
    return word != GPUS and word.partition(".")[0] not in TABLES


def literal(word: str) -> Any:
    """A number, true, false, or the word itself."""
    try:
        return toml.loads(f"value = {word}")["value"]
    except toml.TOMLDecodeError:
        return word
