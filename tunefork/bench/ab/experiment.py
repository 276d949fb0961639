"""An experiment: which arms are compared, in how many pairs, under which seed. Written once; the same name again resumes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tunefork.base import redact
from tunefork.base.checked import CHECKED, from_json
from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.patchset.series.series import Series
from tunefork.patchset.series.variant import choose

FILE = "experiment.json"


@dataclass(frozen=True)
class Comparison:
    """Two arms. name: "" for the only one, else such as "alone:<patch>"."""

    __pydantic_config__ = CHECKED

    name: str
    a: str
    b: str


@dataclass(frozen=True)
class Experiment:
    """What was planned. fixed: everything else that must not change between the trials (load, client, server arguments).

    looks: the numbers of pairs that were planned one after the other; the end of each is one look at the data (ab/judge.py).
    """

    __pydantic_config__ = CHECKED

    name: str
    profile: str
    comparisons: tuple[Comparison, ...]
    pairs: int
    seed: int
    decides: str
    threshold: float
    fixed: dict[str, Any]
    looks: tuple[int, ...] = ()

    def look(self, pair: int) -> int:
        """The look, from 1, for which a pair (from 0) was planned."""
        return 1 + sum(pair >= planned for planned in self.looks)

    def variants(self) -> list[str]:
        """Every variant that some trial needs."""
        return list(dict.fromkeys(arm for one in self.comparisons for arm in (one.a, one.b)))


def folder(layout: Layout, name: str) -> Path:
    """Where an experiment's plan and failures are kept; BadInput for a name that is no folder's."""
    return layout.work / "experiments" / folder_name(name, "my-experiment")


def folder_name(name: str, example: str) -> str:
    """A name that somebody typed for a folder; BadInput where it is none."""
    if not is_folder_name(name):
        raise BadInput(f"--name {name!r}: expected letters, digits, dot, dash and underscore", f"--name {example}")
    return name


def is_folder_name(name: str) -> bool:
    """Whether a name is a folder's wherever it is put: no path, and hidden from nobody."""
    return bool(name) and not name.startswith(".") and set(name) <= SAFE


SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def begin(where: Path, wanted: Experiment) -> Experiment:
    """Write the plan, or take up the one that is there: it may get more pairs, and nothing else may differ."""
    path = where / FILE
    if not path.is_file():
        where.mkdir(parents=True, exist_ok=True)
        write(path, wanted)
        return wanted
    planned = read(path)
    # The seed is drawn at the first call, unless it was given.
    more = wanted.pairs > planned.pairs
    looks = (*planned.looks, planned.pairs) if more else planned.looks
    merged = replace(wanted, pairs=max(planned.pairs, wanted.pairs), seed=planned.seed, looks=looks)  # the plan that was kept has no secrets
    differing = [name for name, value in asdict(planned).items()
                 if name not in ("pairs", "seed", "looks") and value != told(wanted)[name]]
    if differing:
        raise BadInput(f"experiment {planned.name} was planned otherwise: {', '.join(differing)} differ from {path}",
                       "another --name, or the arguments it was begun with")
    if more:
        write(path, merged)
    return merged


def read(path: Path) -> Experiment:
    """A plan from its file."""
    remedy = f"move {path.parent} away"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: not an experiment: {error.strerror}", remedy) from None
    return from_json(Experiment, data, f"{path}: not an experiment", remedy)


def write(path: Path, plan: Experiment) -> None:
    """In one step, so that a kill leaves the old plan or the new one."""
    write_atomically(path, json.dumps(told(plan), indent=1).encode() + b"\n")


def told(plan: Experiment) -> dict[str, Any]:
    """The plan as it is kept: without the secrets among vLLM's arguments and in commands of servers."""
    arms = tuple(replace(one, a=redact.text(one.a), b=redact.text(one.b)) for one in plan.comparisons)
    fixed = {name: list(redact.words(value)) if name == "extra" else value for name, value in plan.fixed.items()}
    return asdict(replace(plan, comparisons=arms, fixed=fixed))


def each_patch(series: Series) -> tuple[Comparison, ...]:
    """Every patch alone, left out, and added to those before it; a comparison of the same two sets is made once."""
    seen: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    found = []
    for one in every(series.names):
        sets = choose(one.a, series).names, choose(one.b, series).names
        if sets not in seen and sets[0] != sets[1]:
            seen.add(sets)
            found.append(one)
    if not found:
        raise BadInput("--each-patch: the series has no patch", "python3 build.py patch export vllm")
    return tuple(found)


def every(names: Sequence[str]) -> Iterator[Comparison]:
    """The three questions of each patch."""
    before = "base"
    for name in names:
        yield Comparison(f"alone:{name}", "base", f"only:{name}")
        yield Comparison(f"left-out:{name}", f"without:{name}", "all")
        yield Comparison(f"cumulative:{name}", before, f"upto:{name}")
        before = f"upto:{name}"
