"""Profiles derived from another: a base, and differences that each say why.

    base = "inferencex"
    description = "..."
    [[differences]]
    key = "server.max-model-len"        # below server or environment, tables by dots
    value = 2304                        # or: remove = true
    why = "ISL + OSL + 256"
    [[scenarios]]
    ...

What a derived file does not say is the base's. A difference that changes nothing, or one without a reason, is an error.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput

OWN = {"base", "description", "differences", "scenarios", "gates", "ready_timeout_s"}
TABLES = ("server", "environment")


@dataclass(frozen=True)
class Difference:
    """One change of a base. key: dotted, below server or environment.  value: None where the key is removed."""

    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.key}: {'left out' if self.value is None else self.value} ({self.why})"


def derive(data: dict[str, Any], path: Path, read: Callable[[str, Path], tuple[dict[str, Any], Path]]) -> tuple[dict[str, Any], tuple[Difference, ...]]:
    """A derived file's data over its base's; other data comes back as it is.

    read: the data and the path of a base, by the name that the file gives.
    """
    if "base" not in data:
        return data, ()
    unknown = sorted(set(data) - OWN)
    if unknown:
        raise BadInput(f"{path}: {unknown[0]}: a derived profile says this as a difference",
                       f"[[differences]] with key, value and why, or one of {', '.join(sorted(OWN))}")
    base, where = read(str(data["base"]), path)
    if "base" in base:
        raise BadInput(f"{path}: base: {where} is derived itself", f"base = {base['base']!r}, and its differences here")
    made = copy.deepcopy(base)
    found = [difference(item, path, place) for place, item in enumerate(data.get("differences", []))]
    for one in found:
        apply(made, one, path)
    made |= {key: data[key] for key in OWN - {"base", "differences"} if key in data}
    made.setdefault("gates", where.stem)
    return made, tuple(found)


def difference(item: Any, path: Path, place: int) -> Difference:
    """One entry of [[differences]]."""
    here = f"{path}: differences[{place}]"
    if not isinstance(item, dict) or not {"key", "why"} <= set(item) <= {"key", "why", "value", "remove"}:
        raise BadInput(f"{here}: expected key, why, and value or remove, got {item!r}", 'key = "server.max-model-len", value = 2304, why = "..."')
    if ("value" in item) == (item.get("remove") is True) or not str(item["why"]).strip():
        raise BadInput(f"{here}: {item['key']} needs a reason, and either a value or remove = true", "say one of the two, and why")
    if str(item["key"]).partition(".")[0] not in TABLES:
        raise BadInput(f"{here}: {item['key']} is in neither {' nor '.join(TABLES)}", 'key = "server.max-model-len"')
    return Difference(str(item["key"]), item.get("value"), str(item["why"]))


def apply(data: dict[str, Any], one: Difference, path: Path) -> None:
    """Make a difference in a base's data."""
    *tables, last = one.key.split(".")
    table = data
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise BadInput(f"{path}: {one.key}: {name} is no table in the base", "name the key that the base has")
    if table.get(last) == one.value:
        raise BadInput(f"{path}: {one.key} is {'not in' if one.value is None else 'the same in'} the base", "leave the difference out")
    if one.value is None:
        del table[last]
    else:
        table[last] = one.value
