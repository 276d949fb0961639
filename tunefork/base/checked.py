"""Data from a file, checked against its type as it is read; what is wrong is said in one line.

Of a profile's file each key has a remedy of its own: bench/profiles/schema.py. One file is read without pydantic, pins.toml
(patchset/sources/pins.py): every command reads it, and pydantic takes 0.10 s of CPU time to import and to make its schema, beside
0.06 s for all that a no-op apply imports (medians of five runs with bytecode compiled, two cores, 2026-11-29).
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tunefork.base.errors import BadInput, TuneforkError

Kind = TypeVar("Kind")

CHECKED = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
"""Unknown keys, missing keys, NaN, infinities and values of another type are refused."""


@functools.cache
def adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Made once: a report reads tens of thousands of records."""
    return TypeAdapter(kind)


def from_json(kind: type[Kind], data: bytes | str, what: str, remedy: str, error: type[TuneforkError] = BadInput) -> Kind:
    """The value that a JSON text holds. what: begins the message of ``error`` where it holds none.

    A dataclass says ``__pydantic_config__ = CHECKED``, a model ``model_config = CHECKED``.
    """
    try:
        key: Any = kind
        value: Kind = adapter(key).validate_json(data)
        return value
    except ValidationError as found:
        raise error(f"{what}: {first_fault(found)}", remedy) from None


def first_fault(error: ValidationError) -> str:
    """The first thing that a schema found, in one line."""
    fault = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the whole"
    return f"{where}: {fault['msg']}"
