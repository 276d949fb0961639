"""What the file of a profile may hold, as pydantic models; what is wrong is said with the key, what was expected, what came and a remedy.

Imported by the first profile that is read: most commands read none, and pydantic takes longer to import than they take.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from tunefork.base.errors import BadInput

EXAMPLE = Path(__file__).with_name("servers") / "smoke.toml"
FLAG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
ENVIRONMENT_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
SIZE_RANGE = re.compile(r"(\d+)-(\d+)/(\d+)")
TARGETS = ("cpu", "gfx950")
# These flags come from the profile's own keys or from the command line.
RESERVED = {"model": "model", "served-model-name": "served_name", "host": "--host", "port": "port"}
PARALLEL = ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size")
KINDS = {"int_type": "int", "string_type": "str", "string_too_short": "str", "dict_type": "dict", "tuple_type": "list", "list_type": "list"}


def wrong(what: str, remedy: str, *below: str) -> NoReturn:
    """Refuse a value. below: the keys under the one that is being checked."""
    raise PydanticCustomError("told", "{what}", {"what": what, "remedy": remedy, "below": below})


def flags(table: dict[str, Any]) -> dict[str, Any]:
    """The [server] table, with size ranges written out."""
    made = {}
    for key, value in table.items():
        if not isinstance(value, bool | int | float | str | dict) or value == "":
            wrong(f"expected bool or int or float or str or dict, got {value!r}", "correct the value", key)
        if key in RESERVED:
            wrong(f"this flag is set by `{RESERVED[key]}`", f"remove it from [server]; set `{RESERVED[key]}`", key)
        if not FLAG.fullmatch(key):
            wrong("expected a flag of `vllm serve` without its dashes, such as max-model-len", "rename it", key)
        if key in PARALLEL and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            wrong(f"expected a positive integer, got {value!r}", f"{key} = 8", key)
        made[key] = with_sizes(value, key)
    return made


def with_sizes(value: Any, *keys: str) -> Any:
    """Lists under keys that end in ``_sizes`` may hold ranges: "4-128/2" is 4, 6, ..., 128, both ends included."""
    if isinstance(value, dict):
        return {inner: with_sizes(item, *keys, inner) for inner, item in value.items()}
    if not (keys[-1].endswith("_sizes") and isinstance(value, list)):
        return value
    sizes: list[int] = []
    for item in value:
        found = SIZE_RANGE.fullmatch(item) if isinstance(item, str) else None
        if found:
            first, last, step = map(int, found.groups())
            if step < 1 or last < first or (last - first) % step:
                wrong(f"{item!r} does not reach its end", '"4-128/2" is 4, 6, ..., 128', *keys)
            sizes += range(first, last + 1, step)
        elif isinstance(item, int) and not isinstance(item, bool) and item > 0:
            sizes.append(item)
        else:
            wrong(f"expected positive integers or ranges, got {item!r}", '[1, 2, "4-128/2"]', *keys)
    return sizes


def variables(table: dict[str, str]) -> dict[str, str]:
    """The [environment] table: names in capitals."""
    for key in table:
        if not ENVIRONMENT_NAME.fullmatch(key):
            wrong("expected an environment variable's name in capitals", "rename it", key)
    return table


def some_targets(values: object) -> object:
    if not isinstance(values, list) or not values or any(value not in TARGETS for value in values):
        wrong(f"expected some of {', '.join(TARGETS)}, got {values!r}", f'targets = ["{TARGETS[0]}"]')
    return values


def concurrencies(values: object) -> object:
    if not isinstance(values, list) or not values or any(isinstance(item, bool) or not isinstance(item, int) or item < 1 for item in values):
        wrong(f"expected a list of positive integers, got {values!r}", "conc = [4, 8]")
    return values


Text = Annotated[str, Field(strict=True, min_length=1)]
Positive = Annotated[int, Field(strict=True, ge=1)]
TABLE = ConfigDict(extra="forbid", frozen=True)


class ScenarioTable(BaseModel):
    """One [[scenarios]] entry."""

    model_config = TABLE

    conc: Annotated[tuple[int, ...], BeforeValidator(concurrencies)]
    isl: Positive
    osl: Positive


class ProfileFile(BaseModel):
    """The whole file, once a derived one is put over its base."""

    model_config = TABLE

    description: Text
    targets: Annotated[tuple[str, ...], BeforeValidator(some_targets)]
    model: Text
    served_name: Text
    port: Annotated[int, Field(strict=True, ge=1, le=65535)]
    ready_timeout_s: Positive
    server: Annotated[dict[str, Any], AfterValidator(flags)]
    environment: Annotated[dict[str, Text], AfterValidator(variables)] = {}
    scenarios: tuple[ScenarioTable, ...]
    gates: Text | None = None


def check(data: dict[str, Any], path: Path) -> ProfileFile:
    """The checked file. Errors: BadInput with file, key and remedy of the first thing that is wrong."""
    try:
        return ProfileFile.model_validate(data)
    except ValidationError as found:
        fault = found.errors(include_url=False)[0]
        place = [*fault["loc"], *fault.get("ctx", {}).get("below", ())]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
        what, remedy = told(fault)
        raise BadInput(f"{path}: {key}: {what}", remedy) from None


def told(fault: ErrorDetails) -> tuple[str, str]:
    """(what is wrong, remedy) in words."""
    kind, came, place = fault["type"], fault["input"], fault["loc"]
    what, remedy = fault["msg"], "correct the value"
    if kind == "told":
        remedy = str(fault["ctx"]["remedy"])
    elif kind == "missing":
        what, remedy = "missing", f"add `{place[-1]}` (see {EXAMPLE})"
    elif kind == "extra_forbidden":
        known = ProfileFile.model_fields if len(place) == 1 else ScenarioTable.model_fields
        what, remedy = f"no such key; known: {', '.join(sorted(known))}", "remove or rename it"
    elif kind == "model_type":
        what, remedy = f"expected a table, got {came!r}", "write it as a [table]"
    elif kind == "greater_than_equal":
        what = f"expected a positive integer, got {came}"
    elif kind == "less_than_equal":
        what = f"expected a port up to {fault['ctx']['le']}, got {came}"
    elif kind in KINDS:
        what = f"expected {KINDS[kind]}, got {came!r}"
    return what, remedy
