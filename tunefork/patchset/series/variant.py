"""A variant: a named subset of a series. ``base``, ``all``, ``only:P``, ``without:P``, ``upto:P``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from tunefork.base.errors import BadInput
from tunefork.base.near import near, question
from tunefork.patchset.series.series import Series

LONGEST = 100  # characters of a slug: git makes file names of it, with endings
KINDS = ("only", "without", "upto")
FORMS = "base, all, only:P, without:P or upto:P (P: a patch's name, several with commas)"


@dataclass(frozen=True)
class Variant:
    """A subset of a series.

    spec: its canonical name.  names: the patches in it, in series order.
    exact: whether they are a prefix of the series, so that each patch meets the very blobs it was made from.
    note: what the user should know of how the subset came about ("" when nothing).
    """

    spec: str
    names: tuple[str, ...]
    exact: bool
    note: str = ""

    @property
    def slug(self) -> str:
        """The spec as part of a path or a branch: no colon, which PYTHONPATH would split at."""
        slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", self.spec)
        return slug if len(slug) <= LONGEST else f"{slug[:LONGEST - 13]}-{hashlib.sha256(self.spec.encode()).hexdigest()[:12]}"


def choose(spec: str, series: Series) -> Variant:
    """The variant that a spec names. ``only`` brings what its patch depends on; ``without`` drops what depends on its patch."""
    kind, _, rest = spec.strip().partition(":")
    if kind in ("base", "all") and not rest:
        names = tuple(series.names) if kind == "all" else ()
        return Variant(kind, names, exact=True)
    if kind not in KINDS or not rest:
        raise BadInput(f"no such variant: {spec!r}", f"{meant(kind, rest, series)}use {FORMS}")
    named = [series.resolve(word) for word in rest.split(",") if word]
    if kind == "upto":
        if len(named) != 1:
            raise BadInput(f"upto takes one patch, {spec!r} names {len(named)}", f"use {FORMS}")
        names = tuple(series.names[: series.names.index(named[0]) + 1])
        return Variant(f"upto:{named[0]}", names, exact=True)
    chosen = closure(series, named) if kind == "only" else set(series.names) - dependents(series, named)
    names = tuple(name for name in series.names if name in chosen)
    affected = (chosen if kind == "only" else set(series.names) - chosen) - set(named)
    verb = "also takes what it depends on" if kind == "only" else "also leaves out what depends on it"
    note = f"{spec} {verb}: {', '.join(sorted(affected))}" if affected else ""
    return Variant(f"{kind}:{','.join(named)}", names, exact=names == tuple(series.names[: len(names)]), note=note)


def meant(kind: str, rest: str, series: Series) -> str:
    """A question that names the nearest variant; "" where none is near."""
    if rest:
        words = [(near(word, series.names) or [word])[0] for word in rest.split(",")]
        return question(f"{one}:{','.join(words)}" for one in near(kind.lower(), KINDS))
    return question(near(kind.lower(), ("base", "all")) or [f"only:{one}" for one in near(kind, series.names)])


def closure(series: Series, names: list[str]) -> set[str]:
    """The named patches and all they depend on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += series.depends_on(name)
    return found


def dependents(series: Series, names: list[str]) -> set[str]:
    """The named patches and all that depend on them."""
    return {name for name in series.names if closure(series, [name]) & set(names)}
