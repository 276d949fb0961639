"""What a serving record says. Unknown keys, missing keys, NaN and infinities are refused, when written and when read.

Units are in the names: ``_s`` seconds, ``_ms`` milliseconds; lengths are tokens; hashes are full git hashes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, Field, field_validator, model_validator

from tunefork.base import redact
from tunefork.base.checked import CHECKED

Status = Literal["passed", "failed", "interrupted"]


class Model(BaseModel):
    """The manners of every part."""

    model_config = CHECKED


class Scenario(Model):
    """One load. range_ratio: shortest over longest length, as the competition's harness counts it (1.0: all the same)."""

    isl: int = Field(ge=1)
    osl: int = Field(ge=1)
    conc: int = Field(ge=1)
    num_prompts: int = Field(ge=1)
    warmups: int = Field(ge=0)
    range_ratio: float = Field(gt=0, le=1)
    seed: int


class Tree(Model):
    """An applied upstream: which patches, and the hashes that name them.

    modified: files with uncommitted changes, which were measured with it though no hash names them.
    """

    upstream: str
    variant: str
    source: str
    base: str
    commit: str
    tree: str
    patches: tuple[str, ...]
    modified: tuple[str, ...] = ()


class Host(Model):
    """The machine. gpus: their names in order, empty where there is none."""

    name: str
    system: str
    cpu: str
    cores: int
    memory_gib: float
    gpus: tuple[str, ...]


class ServerRecord(Model):
    """The server that was measured. own: whether the tool started it.  gpus: devices it used (TP x PP x DP).

    target: what the variant was built for.  seconds_to_ready: None where it ran already.  prefix_cache: None where it did not say.
    """

    own: bool
    base_url: str
    model: str
    served_name: str
    target: str
    version: str
    gpus: int = Field(ge=1)
    argv: tuple[str, ...]
    env: dict[str, str]
    seconds_to_ready: float | None
    log: str | None
    prefix_cache: bool | None = None

    @field_validator("argv", mode="after")
    @classmethod
    def _no_secret_argument(cls, argv: tuple[str, ...]) -> tuple[str, ...]:
        return redact.words(argv)

    @field_validator("env", mode="after")
    @classmethod
    def _no_secret_variable(cls, env: dict[str, str]) -> dict[str, str]:
        return redact.environment(env)


class Limit(Model):
    """One bound of an accuracy gate and the value measured."""

    name: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    passed: bool


class Accuracy(Model):
    """An accuracy measurement of one server. samples: scored documents."""

    task: str
    status: Literal["passed", "missed"]
    metrics: dict[str, float]
    limits: tuple[Limit, ...]
    samples: int
    seconds: float
    lm_eval: str


class Score(Model):
    """The competition's scores. divisor: GPUs that the throughput was divided by; divisor_kind says why that many.

    Ratios are ours over the baseline's: throughput and interactivity higher is better, E2E lower; None where there is no baseline.
    """

    tput_per_gpu: float
    median_e2el_ms: float
    interactivity: float
    divisor: int
    divisor_kind: Literal["used", "seed"]
    baseline: str | None
    tput_ratio: float | None
    e2e_ratio: float | None
    interactivity_ratio: float | None


class Problem(Model):
    """Why a configuration did not pass. kind: one word to group by."""

    kind: str
    message: str

    @field_validator("message", mode="after")
    @classmethod
    def _no_secret(cls, message: str) -> str:
        return redact.text(message)


class Telemetry(Model):
    """Per GPU name "0", "1", ...: median, least and greatest of each quantity over the trial. tool: which program was asked."""

    tool: str
    samples: int
    gpus: dict[str, dict[str, tuple[float, float, float]]]


class Timing(Model):
    """Where the seconds went, by the monotonic clock. before, after: the tool's own cost around the client."""

    before_s: float = Field(ge=0)
    client_s: float = Field(ge=0)
    after_s: float = Field(ge=0)


class Record(Model):
    """One configuration measured on one server start.

    id: also its directory's name.  trial: the server start it belongs to.  batch: the results directory it was made for.
    labels: what an experiment adds (its name, arm, pair).  metrics: the client's numbers, None where it gave none.
    """

    format: Literal[1] = 1
    id: str
    created: AwareDatetime
    trial: str
    batch: str
    labels: dict[str, str] = Field(default_factory=dict)
    profile: str
    status: Status
    problems: tuple[Problem, ...]
    scenario: Scenario
    trees: tuple[Tree, ...]
    project: str
    versions: dict[str, str]
    host: Host
    server: ServerRecord
    client: tuple[str, ...]
    accuracy: Accuracy | None
    metrics: dict[str, float] | None
    score: Score | None
    timing: Timing | None
    telemetry: Telemetry | None = None

    @field_validator("labels", mode="after")
    @classmethod
    def _no_secret_label(cls, labels: dict[str, str]) -> dict[str, str]:
        return {name: redact.text(value) for name, value in labels.items()}

    @field_validator("client", mode="after")
    @classmethod
    def _no_secret_argument(cls, client: tuple[str, ...]) -> tuple[str, ...]:
        return redact.words(client)

    @model_validator(mode="after")
    def _truthful(self) -> Self:
        """A pass has numbers and no problem; anything else says why and has no score."""
        if self.status == "passed" and (self.problems or self.metrics is None or self.score is None):
            raise ValueError("a record that passed has metrics, a score and no problems")
        if self.status != "passed" and (not self.problems or self.score is not None):
            raise ValueError("a record that did not pass has a problem and no score")
        return self

    @property
    def vllm(self) -> Tree | None:
        """The vLLM tree that was measured; None for a server that somebody else started."""
        for tree in self.trees:  # a generator would take twice as long, for tens of thousands of records
            if tree.upstream == "vllm":
                return tree
        return None


class Submission(Model):
    """One attempt to submit a record. state tells what is known; the answer is the leaderboard's own words.

    sending: the request went out, or was about to.  accepted: an event id came.  complete: the leaderboard took it.
    rejected: it said no.  unknown: it may or may not have taken it.  unsent: it surely never got it.
    """

    format: Literal[1] = 1
    state: Literal["sending", "accepted", "complete", "rejected", "unknown", "unsent"]
    url: str
    team: str
    data: tuple[str | int | float | None, ...]
    started: AwareDatetime
    event_id: str | None = None
    answer: str | None = None


def utc_now() -> datetime:
    """The wall clock; for names and dates only, never for durations."""
    return datetime.now(UTC)
