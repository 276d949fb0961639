"""Measure one configuration on a server that answers: client, checks, score, record. Whatever happens, the record says it."""

from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunefork.base.errors import ServeError
from tunefork.base.program import Finished
from tunefork.bench.errors import RecordError
from tunefork.bench.load import client_vllm
from tunefork.bench.load.checks import check, metrics
from tunefork.bench.machine.host import host
from tunefork.bench.machine.telemetry import Sampler
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.schema import Accuracy, Problem, Record, Scenario, Score, Status, Timing, utc_now
from tunefork.bench.records.store import CLIENT, Store, new_id
from tunefork.bench.run.score import score
from tunefork.bench.server.target import Target

Answered = tuple[Finished, dict[str, Any] | None, list[Problem]]
Client = Callable[[Target, Scenario, Path, float | None], Answered]


@dataclass(frozen=True)
class Measurement:
    """What all configurations of a run share. client: what makes the load; labels: an experiment's words in every record."""

    store: Store
    rules: Rules
    profile: str
    batch: str
    project: str
    client: Client = client_vllm.measure
    client_timeout_s: float | None = None
    seed_divisor: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


class Interrupted(KeyboardInterrupt):
    """A Ctrl-C during a measurement. record: the id of the record that says so, None where it could not be written."""

    record: str | None = None


@dataclass
class _Outcome:
    """What is known so far of a configuration that is being measured."""

    status: Status = "failed"
    problems: list[Problem] = field(default_factory=list)
    answer: dict[str, Any] | None = None
    numbers: dict[str, float] | None = None
    score: Score | None = None
    client_s: float = 0.0


def measure(shared: Measurement, target: Target, one: Scenario, accuracy: Accuracy | None, folder: Path,
            files: Mapping[str, bytes] | None = None) -> Record:
    """Measure one configuration into ``folder`` (new) and the store. files: further raw files for the record.

    A failed configuration is a record and not an error, also where the server died; a Ctrl-C goes on, as Interrupted, once its record is
    written.
    """
    started = time.monotonic()
    outcome = _Outcome()
    sampler = Sampler()
    interrupt: Interrupted | None = None
    folder.mkdir(parents=True)
    before = time.monotonic() - started
    try:
        with sampler:
            client_started = time.monotonic()
            try:
                done, outcome.answer, outcome.problems = shared.client(target, one, folder, shared.client_timeout_s)
                outcome.client_s = done.seconds
            finally:
                outcome.client_s = outcome.client_s or time.monotonic() - client_started
        _judge(outcome, shared, target, one)
    except ServeError as error:
        outcome.problems = [Problem(kind="server-died", message=error.message)]
    except KeyboardInterrupt as error:
        outcome.status, outcome.problems = "interrupted", [Problem(kind="interrupted", message="stopped by a signal")]
        interrupt = Interrupted(*error.args)
    # What the client and the sampler took is theirs; the rest is ours.
    after = max(0.0, time.monotonic() - started - before - outcome.client_s)
    record = _record(shared, target, one, accuracy, outcome, sampler, Timing(before_s=before, client_s=outcome.client_s, after_s=after))
    try:
        shared.store.write(record, {**(files or {}), **_raw(outcome, sampler, folder)})
        if interrupt is not None:
            interrupt.record = record.id
        _tidy(folder)
    except RecordError as error:
        if interrupt is None:
            raise
        interrupt.add_note(f"and its record could not be written: {error.message}")
    if interrupt is not None:
        raise interrupt
    return record


def _judge(outcome: _Outcome, shared: Measurement, target: Target, one: Scenario) -> None:
    """Check the answer and score it."""
    if outcome.answer is None:
        return
    outcome.numbers, _ = metrics(outcome.answer)
    outcome.problems += check(outcome.answer, one)
    if not outcome.problems:
        outcome.status = "passed"
        outcome.score = score(outcome.numbers, gpus=target.server.gpus, isl=one.isl, osl=one.osl, conc=one.conc,
                              baseline=shared.rules.baseline, seed_divisor=shared.seed_divisor)


def _record(shared: Measurement, target: Target, one: Scenario, accuracy: Accuracy | None, outcome: _Outcome, sampler: Sampler,
            timing: Timing) -> Record:
    return Record(
        id=new_id(shared.profile, f"isl{one.isl}", f"osl{one.osl}", f"conc{one.conc}"), created=utc_now(), trial=target.trial,
        batch=shared.batch, labels=dict(shared.labels), profile=shared.profile, status=outcome.status, problems=tuple(outcome.problems),
        scenario=one, trees=target.trees, project=shared.project, versions=dict(target.versions), host=host(), server=target.server,
        client=_client_words(shared, target, one), accuracy=accuracy, metrics=outcome.numbers or None,
        score=outcome.score, timing=timing, telemetry=sampler.summary())


def _client_words(shared: Measurement, target: Target, one: Scenario) -> tuple[str, ...]:
    """The client's command; of one that is a function, its name."""
    if shared.client is client_vllm.measure:
        return tuple(client_vllm.arguments(target, one, Path()))
    return (f"{shared.client.__module__}.{getattr(shared.client, '__qualname__', 'client')}",)


def _raw(outcome: _Outcome, sampler: Sampler, folder: Path) -> dict[str, bytes]:
    """The raw files: every sample of the client, its log, every telemetry answer."""
    files: dict[str, bytes] = {}
    if outcome.answer is not None:
        files[CLIENT] = gzip.compress(json.dumps(outcome.answer).encode(), compresslevel=5, mtime=0)
    telemetry = sampler.raw()
    if telemetry:
        files["telemetry.jsonl.gz"] = gzip.compress(telemetry, mtime=0)
    with contextlib.suppress(OSError):
        files["client.log"] = (folder / "client.log").read_bytes()
    return files


def _tidy(folder: Path) -> None:
    """What the record now holds, once is enough."""
    for name in (client_vllm.ANSWER, client_vllm.LAGS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "cwd", ignore_errors=True)
