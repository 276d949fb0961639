"""The arms of an experiment, made ready from its plan, so that no trial waits for another's build."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.bench.ab import profile_arms, trial
from tunefork.bench.ab.experiment import Comparison, Experiment
from tunefork.bench.ab.trial import OpenArm, Trials
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.records.store import Store
from tunefork.bench.run import settings as configure
from tunefork.bench.run.settings import Settings

Kind = Literal["variant", "profile", "url", "command"]
BESIDE_SETTINGS = ("client", "accuracy", "kind")
"""What a plan fixes besides the settings of a run."""


def settings(planned: Experiment) -> Settings:
    """The settings of every trial."""
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in planned.fixed.items() if name not in BESIDE_SETTINGS}
    return Settings.model_validate(plain)


def trials(layout: Layout, store: Store, where: Path, planned: Experiment, comparisons: Sequence[Comparison], say: Say,
           port: int | None = None) -> Trials:
    """What makes the trials of these comparisons. port: in place of the plan's."""
    own = settings(planned)
    if port is not None:
        own = own.model_copy(update={"port": port})
    profile = configure.profile(own)
    names = dict.fromkeys(arm for one in comparisons for arm in (one.a, one.b))
    client: str = planned.fixed["client"]
    kind: Kind = planned.fixed["kind"]
    arms = {name: ready(layout, profile, own, kind, name, client, say) for name in names}
    profiles = {name: profile_arms.of(own, name).name for name in names} if kind == "profile" else {}
    return Trials(layout, store, own, profile, arms, client, bool(planned.fixed["accuracy"]), where, say, profiles)


def ready(layout: Layout, profile: Profile, own: Settings, kind: Kind, name: str, client: str, say: Say) -> OpenArm:
    """One arm."""
    if kind == "url":
        return trial.url_arm(layout, profile, own, name, client, say)
    if kind == "command":
        return trial.command_arm(layout, profile, own, name, say)
    if kind == "profile":
        return trial.variant_arm(layout, profile_arms.of(own, name), own, profile_arms.VARIANT, say)
    return trial.variant_arm(layout, profile, own, name, say)
