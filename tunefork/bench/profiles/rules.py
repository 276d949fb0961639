"""A profile's rules: which accuracy must hold, how the load is drawn, what the scores are compared with, where results go.

Ours are ``gates/<profile>.toml``. A profile of the user's own names one of them, or a file: ``gates = "seed"`` in its TOML; without that
it has no gate, no baseline and no leaderboard, and every summary says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from tunefork.base import toml
from tunefork.base.checked import from_json
from tunefork.base.errors import BadInput
from tunefork.bench.profiles.profile import PROFILES, Profile
from tunefork.bench.records.schema import Model

GATES = Path(__file__).with_name("gates")
ResultKeys = Literal["seed", "stage2", "chat"]


class Bound(Model):
    """What one metric must satisfy. metric: lm_eval's key ("bits_per_byte,none").  name: ours, and the result file's.

    reference: bound is at most reference x the gate's multiplier.  manifest: the reference is this key of the model's manifest.json.
    With neither and no ``at_least`` the metric is reported and not bounded.
    tolerance: how far below ``at_least`` still passes, absolute (the harness' GSM8K_TOL).
    per_bytes: the metric is a perplexity per byte, the value that per unit of so many bytes: exp(NLL/bytes) ** per_bytes.
    """

    name: str
    metric: str
    reference: float | None = None
    manifest: str | None = None
    at_least: float | None = None
    tolerance: float = Field(default=0.0, ge=0)
    per_bytes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(bound is not None for bound in (self.reference, self.manifest, self.at_least)) > 1:
            raise ValueError("give one of reference, manifest and at_least")
        return self


class Gate(Model):
    """An lm_eval task and its bounds. stories: the task is over the tiny model's own held-out texts."""

    task: str
    api: Literal["completions", "chat"]
    limits: tuple[Bound, ...] = Field(min_length=1)
    fewshot: int | None = None
    timeout_s: float = Field(gt=0)
    result: ResultKeys
    threshold_multiplier: float = 1.0
    model_args: dict[str, bool | int | float | str] = Field(default_factory=dict)
    gen_kwargs: dict[str, bool | int | float | str] = Field(default_factory=dict)
    stories: bool = False

    @model_validator(mode="after")
    def _binds(self) -> Self:
        if all(bound.reference is None and bound.manifest is None and bound.at_least is None for bound in self.limits):
            raise ValueError("no metric is bounded, so that this gate could not fail")
        return self


GSM8K = "gsm8k_metric"


class LoadRules(Model):
    """How requests are drawn. random_range_ratio: shortest over longest length, 1.0 for all the same."""

    random_range_ratio: float = Field(default=1.0, gt=0, le=1)
    prompts_per_conc: int = Field(default=10, ge=1)
    warmups_per_conc: int = Field(default=2, ge=0)


class BaselinePoint(Model):
    """One configuration's reference scores."""

    isl: int
    osl: int
    conc: int
    median_e2el_ms: float = Field(gt=0)
    interactivity: float = Field(gt=0)
    tput_per_gpu: float = Field(gt=0)


class Baseline(Model):
    """A named set of reference scores. result: whose words the result file uses for it."""

    name: str
    result: ResultKeys
    configurations: tuple[BaselinePoint, ...]

    def at(self, isl: int, osl: int, conc: int) -> BaselinePoint | None:
        """The reference of one configuration; None where none was published."""
        return next((one for one in self.configurations if (one.isl, one.osl, one.conc) == (isl, osl, conc)), None)


def published(baseline: Baseline | None, isl: int, osl: int, conc: int) -> BaselinePoint | None:
    """What there is to compare a configuration with; None where nothing was published."""
    return baseline.at(isl, osl, conc) if baseline else None


class Leaderboard(Model):
    """Where results go. url: with {isl} and {osl}.  accuracy: the metrics that are sent, in order."""

    url: str
    accuracy: tuple[str, ...]


class Rules(Model):
    """All of it; every part may be absent but the load."""

    notes: tuple[str, ...] = ()
    accuracy: Gate | None = None
    load: LoadRules = LoadRules()
    baseline: Baseline | None = None
    leaderboard: Leaderboard | None = None

    @property
    def gsm8k(self) -> bool:
        """Whether the gate has stage 2's bound."""
        return self.accuracy is not None and any(bound.name == GSM8K for bound in self.accuracy.limits)

    def with_gsm8k(self, baseline: float | None, tolerance: float | None) -> Rules:
        """With stage 2's bound as GSM8K_BASELINE_METRIC and GSM8K_TOL say; unchanged where there is no such bound or nothing is said."""
        gate = self.accuracy
        if gate is None or (baseline is None and tolerance is None):
            return self
        said = {"at_least": baseline, "tolerance": tolerance}
        limits = tuple(bound.model_copy(update={key: value for key, value in said.items() if value is not None}) if bound.name == GSM8K else bound
                       for bound in gate.limits)
        return self.model_copy(update={"accuracy": gate.model_copy(update={"limits": limits})})


def load(profile: Profile) -> Rules:
    """The rules of a profile; BadInput names the file and the key."""
    path = GATES / f"{profile.name}.toml"
    if profile.gates is None and profile.path.parent != PROFILES:
        return Rules()
    if profile.gates is not None:
        path = GATES / f"{profile.gates}.toml"
        if not path.is_file():
            path = profile.path.parent / profile.gates
    if not path.is_file():
        ours = ", ".join(sorted(one.stem for one in GATES.glob("*.toml")))
        raise BadInput(f"{profile.path}: no gates at {path}", f"gates = one of {ours}, or a TOML file beside the profile")
    return read(path)


def read(path: Path) -> Rules:
    """One rules file."""
    text = json.dumps(toml.read(path))  # through JSON, whose arrays may become tuples; TOML's own lists may not, under strict checking
    return from_json(Rules, text, str(path), f"see {GATES / 'seed.toml'}")
