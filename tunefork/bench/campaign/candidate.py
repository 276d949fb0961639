"""A candidate: one change that may be worth having. An arm: the reference with none, one or several of them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tunefork.base.errors import BadInput
from tunefork.bench.campaign.space import Space, value_of
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.profiles.profile import Profile

Kind = Literal["patch", "override", "profile", "flag"]
REFERENCE = "reference"
OVERRIDES = "environment.TUNEFORK_OVERRIDES"
"""The one key whose values add up: a comma-separated list."""


@dataclass(frozen=True)
class Candidate:
    """name: what it is called everywhere.  changes: (key, value) over the profile, None removes.  patch: taken in, or left out.

    decides: what a team does with the answer.
    """

    name: str
    kind: Kind
    why: str
    changes: tuple[tuple[str, Any], ...] = ()
    patch: str = ""

    @property
    def keys(self) -> frozenset[str]:
        """What it touches: two candidates that touch the same exclude each other."""
        return frozenset([f"patch.{self.patch}"] if self.patch else [key for key, _ in self.changes if key != OVERRIDES])

    @property
    def decides(self) -> str:
        return {"patch": "merge the patch, or drop it", "override": "ship the override, or not", "profile": "serve by that profile, or not",
                "flag": "set the flag, or leave it"}[self.kind]


@dataclass(frozen=True)
class Rejected:
    """A candidate that cannot be tried, and why."""

    name: str
    reason: str


def exclusive(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates cannot be had together."""
    return bool(one.keys & other.keys)


def served(profile: Profile, members: Iterable[Candidate]) -> Profile:
    """The profile of an arm."""
    server, environment = copy.deepcopy(profile.server), dict(profile.environment)
    for key, value in (change for one in members for change in one.changes):
        table, *path, last = key.split(".")
        if key == OVERRIDES:
            value = ",".join(word for word in (environment.get(last, ""), value) if word)  # noqa: PLW2901
        within: dict[str, Any] = server if table == "server" else environment
        for name in path:
            within = within.setdefault(name, {})
            if not isinstance(within, dict):
                raise BadInput(f"{key}: {name} is {within!r} in profile {profile.name}, and no table", "name a key that the profile has, or has not yet")
        if value is None:
            within.pop(last, None)
        else:
            within[last] = value
    return replace(profile, server=server, environment=environment)


def variant(against: str, members: Iterable[Candidate]) -> str:
    """The variant of an arm: of ``base`` with patches taken in, of ``all`` with patches left out."""
    names = sorted(one.patch for one in members if one.patch)
    return f"{'only' if against == 'base' else 'without'}:{','.join(names)}" if names else against


def patches(names: Sequence[str], against: str) -> list[Candidate]:
    """Each patch of a series: alone where the reference is ``base``, left out where it is ``all``."""
    if against not in ("base", "all"):
        raise BadInput(f"--against {against}: expected base (each patch alone) or all (each left out)", "--against base")
    how = ("only", "alone, on the pin") if against == "base" else ("without", "left out of the series")
    return [Candidate(f"{how[0]}:{name}", "patch", how[1], patch=name) for name in names]


def flags(space: Space, profile: Profile) -> list[Candidate]:
    """Each value of each knob that the profile does not have."""
    return [Candidate(knob.named(value), "override" if knob.key == OVERRIDES else "flag", knob.why, ((knob.key, value),))
            for knob in space.knobs for value in knob.values if value_of(profile, knob.key) != value]


def derived(profile: Profile) -> list[Candidate]:
    """Our profiles that say in which they differ from this one."""
    found = []
    for name in profiles.names():
        data, _ = profiles.read(name, profile.path)
        if data.get("base") == profile.name and "scenarios" not in data:
            made = profiles.load(name)
            changes = tuple((one.key, one.value) for one in made.differences)
            found.append(Candidate(f"profile:{name}", "profile", made.description, changes))
    return found


def possible(found: Sequence[Candidate], space: Space, profile: Profile, gpus: int | None) -> tuple[list[Candidate], list[Rejected]]:
    """Those that can be tried alone, each change once, and the others with their reason."""
    good: list[Candidate] = []
    bad: list[Rejected] = []
    seen: dict[str, str] = {}
    for one in found:
        what = f"{one.patch} {sorted((key, repr(value)) for key, value in one.changes)}"
        reason = f"the same as {seen[what]}" if what in seen else space.refuses(served(profile, [one]), gpus)
        seen.setdefault(what, one.name)
        if reason:
            bad.append(Rejected(one.name, reason))
        else:
            good.append(one)
    return good, bad


def by_name(found: Iterable[Candidate]) -> Mapping[str, Candidate]:
    return {one.name: one for one in found}
