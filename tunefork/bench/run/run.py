"""`bench run`: the accuracy gate once per server, then every configuration; what fails is marked and the rest goes on.

A server that dies fails the configuration that it served; the next one gets a new server, which passes the gate first.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunefork.base.errors import TuneforkError
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.typed import typed
from tunefork.bench.errors import AccuracyMissed, AccuracyUnknown, ConfigurationsFailed, NothingMeasured, RecordError
from tunefork.bench.gate.accuracy import Evaluation, evaluate
from tunefork.bench.load import load
from tunefork.bench.machine import devices, host
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.ranking import weighted
from tunefork.bench.records.schema import Accuracy, Record
from tunefork.bench.records.store import Store, default_store
from tunefork.bench.run import settings as configure
from tunefork.bench.run.batch import Batch
from tunefork.bench.run.measure import Interrupted, Measurement, measure
from tunefork.bench.run.result import result
from tunefork.bench.run.resume import believe, load_batches, require_same_subject
from tunefork.bench.run.session import Subject, check_first, session, subject
from tunefork.bench.run.settings import Settings
from tunefork.bench.run.summary import summary
from tunefork.bench.server.target import Target

FAILED = {"failed", "interrupted", "skipped"}


@dataclass
class Run:
    """One run and what is known of it. records: by (ISL, OSL, CONC).  error: what ended it, or made it not pass."""

    layout: Layout
    settings: Settings
    profile: Profile
    rules: Rules
    store: Store
    subject: Subject
    batches: list[Batch]
    say: Say
    accuracy: Accuracy | None = None
    error: TuneforkError | None = None
    records: dict[tuple[int, int, int], Record] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """The exit code: 0 where everything passed."""
        return self.error.code if self.error else 0

    def pending(self) -> list[tuple[Batch, int]]:
        """What is still to measure, in order."""
        return [(batch, entry.conc) for batch in self.batches for entry in batch.state.entries if entry.status == "pending"]

    def of(self, batch: Batch) -> dict[int, Record]:
        """A batch's records by CONC."""
        pair = (batch.state.isl, batch.state.osl)
        return {conc: record for (isl, osl, conc), record in self.records.items() if (isl, osl) == pair}


def start(layout: Layout, settings: Settings, out: Path, say: Say, resume: tuple[Path, ...] = ()) -> Run:
    """Prepare a run: the profile, the variant, and a batch per ISL/OSL pair (or those that are resumed)."""
    batches = load_batches(resume)
    if batches:
        settings = batches[0].state.settings
    elif settings.seed is None:
        settings = settings.model_copy(update={"seed": secrets.randbelow(2**31)})
    profile = configure.profile(settings)
    check_first(profile, settings, gate=rules.load(profile).accuracy is not None)
    under_test = subject(layout, settings, say)
    if batches:
        require_same_subject(batches, under_test)
    held_to = rules.load(profile).with_gsm8k(settings.gsm8k_baseline, settings.gsm8k_tol)
    run = Run(layout, settings, profile, held_to, default_store(layout), under_test, batches, say)
    if batches:
        take_over(run)
    elif settings.mode != "acc":
        run.batches = [Batch.create(out, settings, one.isl, one.osl, one.conc, tree=under_test.tree, version=under_test.version)
                       for one in profile.scenarios]
    return run


def take_over(run: Run) -> None:
    """Believe what can be verified of resumed batches, and plan the rest again."""
    for batch in run.batches:
        for entry in batch.state.entries:
            found = believe(batch, entry, run.rules, run.store)
            key = (batch.state.isl, batch.state.osl, entry.conc)
            if isinstance(found, Record):
                run.records[key] = found
                run.accuracy = run.accuracy or found.accuracy
            else:
                run.say(f"ISL {key[0]} OSL {key[1]} CONC {key[2]} is measured again: {found}")
                batch.mark(entry.conc, "pending")


def execute(run: Run, out: Path) -> Run:
    """Do it. Failures are in ``run.error``; only Ctrl-C and what is a bug come out as exceptions, with everything written before."""
    host.host()
    try:
        if run.settings.mode == "acc":
            with serving(run) as target:
                gate(run, target, out)
        while run.pending():
            with serving(run) as target:
                serve_batches(run, target)
    except (TuneforkError, OSError) as error:
        run.error = error if isinstance(error, TuneforkError) else unwritable(error)
        skip_rest(run, run.error)
    finally:
        write_summaries(run)
    run.error = run.error or verdict(run)
    return run


@contextlib.contextmanager
def serving(run: Run) -> Iterator[Target]:
    """One server start, while nothing else of this user is measured on this machine."""
    with (devices.machine(run.layout.cache, run.say), writing_summaries(run),
          session(run.layout, run.profile, run.settings, run.subject, run.say) as target):
        yield target


def serve_batches(run: Run, target: Target) -> None:
    """The gate, then what is pending, until all is done or the server has died."""
    first = run.pending()[0][0]
    evaluation = gate(run, target, first.folder)
    for batch, conc in run.pending():
        record = measured(run, target, batch, conc, evaluation)
        if any(problem.kind == "server-died" for problem in record.problems):
            return run.say("the server died; a new one is started for what is left" if run.pending() else "the server died")
    return None


def gate(run: Run, target: Target, parent: Path) -> Evaluation | None:
    """Measure the accuracy of this server; AccuracyMissed or AccuracyUnknown end the run before anything is timed."""
    asked = run.rules.accuracy
    if asked is None:
        if run.settings.mode == "acc":
            raise AccuracyUnknown(f"profile {run.profile.name} has no accuracy gate", "gates = \"seed\" in the profile (profiles/rules.py)")
        run.say(f"profile {run.profile.name} has no accuracy gate: the accuracy is not known")
        return None
    folder = next(path for number in range(1, 10_000) if not (path := parent / f"accuracy-{number}").exists())
    run.say(f"accuracy: {asked.task} through lm_eval; log: {folder / 'lm_eval.log'}")
    evaluation = evaluate(target, asked, folder)
    run.accuracy = evaluation.accuracy
    write_atomically(parent / "accuracy.json", evaluation.accuracy.model_dump_json(indent=1).encode() + b"\n")
    missed = [each for each in evaluation.accuracy.limits if not each.passed]
    if missed:
        worst = missed[0]
        bound = f"at most {worst.at_most:.4f}" if worst.at_most is not None else f"at least {worst.at_least}"
        raise AccuracyMissed(f"accuracy: {worst.name} is {worst.value:.4f}, must be {bound}; nothing was timed",
                             "find the patch that changes the numbers: python3 build.py bench run --mode acc --variant only:P")
    run.say("accuracy: passed, " + ", ".join(f"{each.name} {each.value:.4f}" for each in evaluation.accuracy.limits))
    return evaluation


def measured(run: Run, target: Target, batch: Batch, conc: int, evaluation: Evaluation | None) -> Record:
    """Measure one CONC, and keep batch.json true while doing so."""
    isl, osl = batch.state.isl, batch.state.osl
    scenario = load.scenario(isl, osl, conc, run.rules.load, range_ratio=run.settings.range_ratio, num_prompts=run.settings.num_prompts,
                             seed=run.settings.seed or 0)
    run.say(f"ISL {isl} OSL {osl} CONC {conc}: {scenario.warmups} warm-ups, {scenario.num_prompts} requests")
    shared = Measurement(store=run.store, rules=run.rules, profile=run.profile.name, batch=str(batch.folder),
                         project=host.project_commit(run.layout.root), client_timeout_s=run.settings.client_timeout_s,
                         seed_divisor=run.settings.seed_divisor)
    batch.mark(conc, "running")
    try:
        record = measure(shared, target, scenario, evaluation.accuracy if evaluation else None, batch.attempt(f"conc{conc}"),
                         {"lm_eval.json": evaluation.raw} if evaluation else {})
    except KeyboardInterrupt as error:
        batch.mark(conc, "interrupted", record=error.record if isinstance(error, Interrupted) else None, problem="stopped by a signal")
        raise
    except (RecordError, OSError) as error:
        # Where the disk is full this may fail too; then "running" stands, which a resume takes for interrupted.
        with contextlib.suppress(TuneforkError):
            batch.mark(conc, "failed", problem=error.message if isinstance(error, RecordError) else unwritable(error).message)
        raise
    run.records[isl, osl, conc] = record
    more = f" (and {len(record.problems) - 1} more)" if len(record.problems) > 1 else ""
    problem = record.problems[0].message + more if record.problems else None
    if record.status == "passed":
        write_atomically(batch.result_path(conc), json.dumps(result(record, run.rules), indent=2).encode() + b"\n")
    batch.mark(conc, record.status, record=record.id, problem=problem)
    run.say(f"  {said(record)}")
    return record


def unwritable(error: OSError) -> RecordError:
    """A disk that is full, or a folder that may not be written."""
    return RecordError(f"cannot write {error.filename or 'the results'}: {error.strerror or error}",
                       "free space or make it writable, then `python3 build.py bench run --resume` the batch")


def said(record: Record) -> str:
    """One line about a record."""
    if record.score is None:
        return f"{record.status.upper()}: {record.problems[0].message}"
    score = record.score
    return f"{score.tput_per_gpu:.1f} tok/s/GPU, E2E {score.median_e2el_ms:.0f} ms, {score.interactivity:.1f} tok/s/user"


def skip_rest(run: Run, error: TuneforkError) -> None:
    """Mark what will not be tried; a disk that is full does not stop us from ending in order."""
    for batch, conc in run.pending():
        with contextlib.suppress(TuneforkError):
            batch.mark(conc, "skipped", problem=error.message.splitlines()[0])


@contextlib.contextmanager
def writing_summaries(run: Run) -> Iterator[None]:
    """Summaries while a server still has to stop, so that a hanging one does not keep them back."""
    try:
        yield
    finally:
        write_summaries(run)


def write_summaries(run: Run) -> None:
    """summary.txt of every batch."""
    for batch in run.batches:
        text = summary(batch, run.rules, run.of(batch), run.accuracy)
        with contextlib.suppress(TuneforkError):
            write_atomically(batch.folder / "summary.txt", text.encode())


def verdict(run: Run) -> TuneforkError | None:
    """What makes a run not pass, once all that could be tried was."""
    entries = [entry for batch in run.batches for entry in batch.state.entries]
    failed = [entry for entry in entries if entry.status in FAILED]
    if not failed:
        return None
    first = failed[0].problem or failed[0].status
    # Only the failed ones are measured again.
    remedy = "python3 build.py bench run " + " ".join(f"--resume {typed(batch.folder)}" for batch in run.batches)
    if len(failed) == len(entries):
        return NothingMeasured(f"every configuration failed ({len(entries)}); the first: {first}", remedy)
    return ConfigurationsFailed(f"{len(failed)} of {len(entries)} configurations failed; the first: {first}", remedy)


def report(run: Run) -> dict[str, Any]:
    """What --json prints."""
    return {
        "profile": run.profile.name,
        "configurations": [
            {"isl": batch.state.isl, "osl": batch.state.osl, "conc": entry.conc, "status": entry.status, "record": entry.record,
             "score": _score(run.of(batch).get(entry.conc)), "problem": entry.problem}
            for batch in run.batches for entry in batch.state.entries],
        "accuracy": run.accuracy.model_dump(mode="json") if run.accuracy else None,
        "batches": [str(batch.folder) for batch in run.batches],
        "error": {"kind": type(run.error).__name__, "message": run.error.message, "remedy": run.error.remedy} if run.error else None,
    }


def _score(record: Record | None) -> dict[str, Any] | None:
    return {**record.score.model_dump(mode="json"), "weighted": weighted(record.score)} if record and record.score else None
