"""Arms that are profiles: ``profile:stage2`` is the whole series served as that profile says, so that two profiles are compared.

Everything but the server must be the same on both sides, or the comparison would be of loads and not of servers.
"""

from __future__ import annotations

from collections.abc import Mapping

from tunefork.base.errors import BadInput
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.run import settings as configure
from tunefork.bench.run.settings import Settings

PREFIX = "profile:"
VARIANT = "all"
EXAMPLE = "--a profile:stage2 --b profile:stage2-a16w4-triton"


def named(a: str, b: str) -> tuple[str, str] | None:
    """The two profiles that arms name; None where neither arm is a profile. BadInput where one is."""
    profiles = [arm.removeprefix(PREFIX) for arm in (a, b) if arm.startswith(PREFIX)]
    if not profiles:
        return None
    if len(profiles) == 1:
        raise BadInput(f"--a {a} --b {b}: expected two profiles or two variants", f"{EXAMPLE}, or --a base --b all --profile {profiles[0]}")
    return profiles[0], profiles[1]


def of(settings: Settings, name: str) -> Profile:
    """The profile of an arm, with the settings of the experiment applied."""
    return configure.profile(settings.model_copy(update={"profile": name.removeprefix(PREFIX)}))


def check(settings: Settings, a: str, b: str) -> None:
    """Refuse two profiles that do not ask the same of their servers: other loads, another accuracy gate, other GPUs, another model."""
    first, second = of(settings, a), of(settings, b)
    (rules_a, rules_b) = rules.load(first), rules.load(second)
    loads = [[f"{one.isl}/{one.osl} c{','.join(map(str, one.conc))}" for one in profile.scenarios] for profile in (first, second)]
    asked: Mapping[str, tuple[object, object]] = {
        "the model": (first.model, second.model),
        "the loads": (" ".join(loads[0]), " ".join(loads[1])),
        "the GPUs of a server": (first.gpus, second.gpus),
        "how requests are drawn": (rules_a.load, rules_b.load),
        "the accuracy gate": (rules_a.accuracy and rules_a.accuracy.task, rules_b.accuracy and rules_b.accuracy.task),
    }
    for what, (one, other) in asked.items():
        if one != other:
            raise BadInput(f"{PREFIX}{first.name} and {PREFIX}{second.name} differ in {what}: {one} and {other}",
                           "two profiles of one base, such as " + EXAMPLE)
