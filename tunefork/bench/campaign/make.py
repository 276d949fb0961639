"""From what was typed to a planned campaign."""

from __future__ import annotations

import math
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.ab.judgement import refuse_unless_served
from tunefork.bench.campaign import candidate, cost, plan, planned, space
from tunefork.bench.campaign.candidate import Candidate
from tunefork.bench.campaign.cost import Costs
from tunefork.bench.campaign.day import Rules
from tunefork.bench.campaign.planned import Planned
from tunefork.bench.machine import devices
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import default_store
from tunefork.bench.run import settings as configure
from tunefork.develop.installed import read_mark
from tunefork.patchset.series.series import Series

SMOKE, PARALLELISM = "smoke", "parallelism"
A_LITTLE = 0.25
"""Of a patch's first start, what a flag's takes: it meets kernels that are compiled."""
Confirming = Literal["auto", "always", "never"]


def make(layout: Layout, *, name: str, hours: float, profile: str, gpus: int | None, spaces: Sequence[str], against: str, only: Sequence[str],
         load: Mapping[str, Any], client: str, metric: str, threshold: float, seed: int | None, confirm: Confirming, aa: int | None,
         tune: Sequence[str], start: float | None = None, ray: str = "") -> Planned:
    """start: minutes of a start, instead of what records say. Errors: BadInput for what cannot be understood, or hours too few for anything."""
    refuse_unless_served(metric)
    served, race = raced(profile, load)
    if ray and not gpus:
        raise BadInput("--ray: this machine does not see how many GPUs the cluster has", f"--ray {ray} --gpus 16")
    count = devices_of(served, gpus)
    knobs = space.load(*(spaces or default_spaces(served)))
    wanted = everyone(layout, served, knobs, against, with_patches="cpu" not in served.targets or bool(only))
    chosen = [one for one in wanted if not only or any(word in one.name for word in only)]
    if not chosen:
        raise BadInput(f"--only {' '.join(only)}: no candidate's name has that in it", f"one of {', '.join(one.name for one in wanted[:8])} ...")
    good, bad = candidate.possible(chosen, knobs, served, count or None)
    target = "gfx950" if count else "cpu"
    records = (one for one in default_store(layout).records() if isinstance(one, Record))
    costs = cost.of_machine(records, served.name, platform.node(), target, cost.DEFAULTS[target])
    if (mark := read_mark()) is not None and mark.target == target:
        costs = replace(costs, develop=cost.DEVELOPED)
    if start is not None:
        costs = replace(cost.DEFAULTS[target], start=start, develop=costs.develop, source="a start as typed, the rest stated defaults")
    rules = ruled(good, served, knobs, costs, count, threshold, seed, aa)
    if confirm != "auto":
        made = plan.planned(replace(rules, confirm=confirm == "always"), hours, costs, tune, auto=False)
    else:
        made = plan.planned(rules, hours, costs, tune)
    if not made.rules.candidates:
        least = plan.least_minutes(replace(rules, confirm=confirm == "always"), rules.candidates[:1]) + costs.doctor + costs.develop
        raise BadInput(f"--hours {hours:g}: not one candidate fits; the least is {least:.0f} minutes", f"--hours {math.ceil(least / 6) / 10:g}")
    return Planned(name, profile, against, knobs.names, hours, count, race, client, metric, threshold, tuple(good), tuple(bad), made.left_out, costs,
                   made.rules, made.steps, tuple(tune), ray)


def raced(profile: str, load: Mapping[str, Any]) -> tuple[Profile, dict[str, Any]]:
    """The profile with the race's load, and the settings that make it: of the profile's first load its middle CONC, unless told otherwise."""
    given = {key: value for key, value in load.items() if value not in (None, ())}
    whole, _ = configure.settings({"profile": profile}, {})
    first = configure.profile(whole).scenarios[0]
    if "isl" not in given:
        given |= {"isl": first.isl, "osl": first.osl}
    if "conc" not in given:
        given["conc"] = (first.conc[len(first.conc) // 2],)
    made, _ = configure.settings({"profile": profile, **given}, {})
    return configure.profile(made), given


def devices_of(served: Profile, gpus: int | None) -> int:
    """GPUs of the campaign; 0 on a CPU."""
    there = len(devices.visible())
    count = gpus if gpus is not None else there or (0 if "cpu" in served.targets else served.gpus)
    if count and count < served.gpus:
        raise BadInput(f"--gpus {count}: a server of profile {served.name} takes {served.gpus}", f"--gpus {served.gpus}")
    return count


def default_spaces(served: Profile) -> list[str]:
    """All of ours but parallelism: its arms need other GPUs than the profile, and with them nobody has neighbours."""
    return [SMOKE] if "cpu" in served.targets else [one for one in space.names() if one not in (SMOKE, PARALLELISM)]


def everyone(layout: Layout, served: Profile, knobs: space.Space, against: str, *, with_patches: bool) -> list[Candidate]:
    """All candidates in the order of importance: patches, derived profiles, overrides, flags."""
    found = candidate.patches(Series.load("vllm", layout.series_dir("vllm")).names if with_patches else (), against)
    found += candidate.derived(served)
    flags = candidate.flags(knobs, served)
    return [*found, *(one for one in flags if one.kind == "override"), *(one for one in flags if one.kind != "override")]


def ruled(good: Sequence[Candidate], served: Profile, knobs: space.Space, costs: Costs, gpus: int, threshold: float, seed: int | None,
          aa: int | None) -> Rules:
    """The rules of the day, before it is known how many fit."""
    taken = {one.name: candidate.served(served, [one]).gpus for one in good}
    lanes = max(1, gpus // max([served.gpus, *taken.values()]))
    warm = {one.name: costs.warm * (A_LITTLE if one.kind == "flag" else 1.0) for one in good}
    return Rules(tuple(one.name for one in good), planned.rivals(good, served, knobs, gpus), costs.start, warm, costs.gate + costs.scenarios + costs.report,
                 secrets.randbelow(2**31) if seed is None else seed, math.log1p(threshold), lanes,
                 aa if aa is not None else (0 if not gpus else 2 if lanes > 1 else 3), warm_reference=costs.warm,
                 resized=frozenset(name for name, count in taken.items() if count != served.gpus))
