"""From a record to the leaderboard: what may go, what is sent, and a journal beside the record that never claims more than is known.

The journal entry is on the disk before the request goes out. A record whose submission is complete, or may be, is not sent again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.base.files import write_atomically, write_synced
from tunefork.bench.errors import SubmitFailed, SubmitRefused, SubmitUnknown
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.profiles.rules import Rules, published
from tunefork.bench.records.schema import Record, Submission, utc_now
from tunefork.bench.records.store import Store
from tunefork.bench.submit import gradio
from tunefork.bench.submit.gradio import Patience, Reply

FUNCTION = "submit_results"
FRESH = timedelta(hours=24)
CLOCK_SLACK = timedelta(minutes=5)
FIELDS = ("team", "conc", "e2e_ms", "tput_per_gpu", "baseline_e2e_ms", "baseline_tput_per_gpu", "e2e_ratio", "tput_ratio",
          "interactivity", "baseline_interactivity", "interactivity_ratio")
ATTEMPT = re.compile(r"submission-(\d{1,9})\.json", re.ASCII)
Value = str | int | float | None


@dataclass(frozen=True)
class Prepared:
    """One record that may be submitted. data: the values of ``fields``, in order."""

    record: Record
    url: str
    team: str
    fields: tuple[str, ...]
    data: tuple[Value, ...]


def prepare(record: Record, rules: Rules, team: str, *, tree: str | None, url: str | None = None, no_baseline: bool = False,
            fresh: timedelta = FRESH) -> Prepared:
    """Check that a record may be submitted and make its data; SubmitRefused says why not.

    tree: of the vLLM that is installed now, which must be the one measured; None where the server was not ours.
    """
    board = rules.leaderboard
    if board is None and url is None:
        raise SubmitRefused(f"profile {record.profile} has no leaderboard", "--url URL, or a profile that has one: seed, stage2")
    if not team.strip():
        raise SubmitRefused("the team has no name", "--team NAME")
    if "\0" in team or any(ord(letter) < 32 for letter in team):
        raise SubmitRefused("the team's name has control characters", "--team NAME")
    one = record.scenario
    name = f"ISL {one.isl} OSL {one.osl} CONC {one.conc}"
    refuse_unless_passed(record, name)
    refuse_unless_current(record, name, tree, fresh)
    wanted = board.accuracy if board else ()
    data = (*scores(record, rules, team, name, no_baseline=no_baseline), *accuracies(record, wanted, name))
    address = (url or (board.url if board else "")).rstrip("/").format(isl=one.isl, osl=one.osl)
    return Prepared(record, address, team, (*FIELDS, *wanted), data)


def refuse_early(rules: Rules, profile: Profile, team: str | None, *, url: str | None, no_baseline: bool, all_or_nothing: bool = False) -> list[str]:
    """What would be refused after hours of measuring, refused before: no team, no leaderboard, no baseline at all.

    Returned: the configurations that will be measured and not sent, since no baseline was published for them.
    """
    if not team or not team.strip():
        raise BadInput("to submit, a team is needed", "--team NAME, or export TEAM_NAME_ENV=NAME")
    if rules.leaderboard is None and url is None:
        raise SubmitRefused(f"profile {profile.name} has no leaderboard", "--url URL, or a profile that has one: seed, stage2")
    asked = [(load.isl, load.osl, conc) for load in profile.scenarios for conc in load.conc]
    without = [f"{isl}/{osl} CONC {conc}" for isl, osl, conc in asked if published(rules.baseline, isl, osl, conc) is None]
    if no_baseline:
        return []
    if without and (all_or_nothing or len(without) == len(asked)):
        raise SubmitRefused(f"no baseline was published for {', '.join(without)}",
                            "choose others with --isl --osl --conc, or --no-baseline sends them with empty ratios")
    return without


def without_baseline(record: Record, rules: Rules) -> bool:
    """Whether nothing was published to compare a record with."""
    one = record.scenario
    return published(rules.baseline, one.isl, one.osl, one.conc) is None


def refuse_unless_passed(record: Record, name: str) -> None:
    """The gate and every check must have passed."""
    again = "python3 build.py bench run measures it again"
    if record.status != "passed" or record.score is None:
        raise SubmitRefused(f"{name} did not pass: {record.problems[0].message}", again)
    if record.accuracy is None:
        raise SubmitRefused(f"{name}: the accuracy was not measured", again)
    if record.accuracy.status != "passed":
        raise SubmitRefused(f"{name}: the accuracy gate was missed", again)


def refuse_unless_current(record: Record, name: str, tree: str | None, fresh: timedelta) -> None:
    """The record must be recent, and of the code that is there now."""
    age = utc_now() - record.created
    if age > fresh:
        raise SubmitRefused(f"{name} was measured {age.total_seconds() / 3600:.0f} hours ago", "measure it again, or --max-age HOURS")
    if age < -CLOCK_SLACK:
        raise SubmitRefused(f"{name} was measured in the future ({record.created.isoformat()}): a clock was changed",
                            "set the clock, then measure again")
    if record.vllm and record.vllm.modified:
        raise SubmitRefused(f"{name} measured uncommitted changes too: {', '.join(record.vllm.modified)}", "commit and export them, then measure again")
    measured = record.vllm.tree if record.vllm else None
    if measured != tree:
        raise SubmitRefused(f"{name} measured the vLLM tree {(measured or 'of a server that was not ours')[:12]}, the installed one is "
                            f"{(tree or 'not known')[:12]}", "apply and develop that variant again, or measure the one that is there")


def scores(record: Record, rules: Rules, team: str, name: str, *, no_baseline: bool) -> tuple[Value, ...]:
    """The first eleven values. Where there is no baseline, null and never zero."""
    score, one = record.score, record.scenario
    assert score is not None
    point = published(rules.baseline, one.isl, one.osl, one.conc)
    if point is None and not no_baseline:
        raise SubmitRefused(f"{name} has no baseline to be compared with", "--no-baseline sends it with empty ratios")
    e2e, tput, interactivity = (point.median_e2el_ms, point.tput_per_gpu, point.interactivity) if point else (None, None, None)
    return (team, one.conc, score.median_e2el_ms, score.tput_per_gpu, e2e, tput, score.e2e_ratio, score.tput_ratio,
            score.interactivity, interactivity, score.interactivity_ratio)


def accuracies(record: Record, wanted: Sequence[str], name: str) -> tuple[Value, ...]:
    """The accuracy values that a leaderboard asks for."""
    assert record.accuracy is not None
    missing = [metric for metric in wanted if metric not in record.accuracy.metrics]
    if missing:
        raise SubmitRefused(f"{name}: the gate did not measure {', '.join(missing)}", "measure it with the leaderboard's profile")
    return tuple(record.accuracy.metrics[metric] for metric in wanted)


class Attempts:
    """The submissions of one record, as files beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[Path]:
        found = {path: int(match[1]) for path in self.folder.iterdir() if (match := ATTEMPT.fullmatch(path.name))}
        return sorted(found, key=found.__getitem__)

    def last(self) -> tuple[Path, Submission] | None:
        """The newest entry; SubmitUnknown where it cannot be read, since it may tell of a submission."""
        paths = self.paths()
        if not paths:
            return None
        try:
            return paths[-1], Submission.model_validate_json(paths[-1].read_bytes())
        except (OSError, ValueError) as error:
            raise SubmitUnknown(f"{paths[-1]} cannot be read ({type(error).__name__}): this record may have been submitted",
                                "ask the leaderboard; --again sends it once more") from error

    def next_number(self) -> int:
        """The number of the entry that would come next; taken before earlier entries are looked at."""
        return 1 + max((int(path.stem.partition("-")[2]) for path in self.paths()), default=0)

    def open(self, submission: Submission, number: int) -> Path:
        """The new entry of this number, on the disk when this returns. SubmitRefused where another process made one since."""
        path = self.folder / f"submission-{number}.json"
        try:
            write_synced(path, submission.model_dump_json(indent=1).encode())
        except FileExistsError:
            raise SubmitRefused("another process submits this record now", "wait for it") from None
        except OSError as error:
            raise SubmitRefused(f"cannot write {path}: {error.strerror}; nothing was sent", "free space, then submit again") from error
        return path


def submit(store: Store, prepared: Prepared, *, again: bool = False, patience: Patience | None = None) -> Submission:
    """Send one record and follow it to its end. Returns only a complete submission.

    SubmitRefused: nothing was sent now.  SubmitFailed: the leaderboard did not take it.  SubmitUnknown: nobody knows.
    again: send although an earlier attempt's end is not known (never after a complete one).
    """
    journal = Attempts(store.path(prepared.record.id))
    number = journal.next_number()  # before the look at what was sent: whatever is sent since then has this number
    found = settle(journal, prepared, again=again, patience=patience)
    if found is not None:
        return found
    entry = Submission(state="sending", url=prepared.url, team=prepared.team, data=prepared.data, started=utc_now())
    path = journal.open(entry, number)

    def accepted(event_id: str) -> None:
        write(path, entry.model_copy(update={"state": "accepted", "event_id": event_id}))

    outcome = gradio.call(prepared.url, FUNCTION, prepared.data, accepted=accepted, patience=patience)
    return conclude(path, entry, outcome)


def settle(journal: Attempts, prepared: Prepared, *, again: bool, patience: Patience | None) -> Submission | None:
    """What an earlier attempt means for this one: an open question is asked again, and may turn out to be complete."""
    try:
        last = journal.last()
    except SubmitUnknown:
        if again:
            return None
        raise
    if last is None or last[1].state in ("rejected", "unsent"):
        return None
    path, earlier = last
    if earlier.state == "complete":
        raise SubmitRefused(f"record {prepared.record.id} was submitted {earlier.started.isoformat(timespec='seconds')} as "
                            f"{earlier.team!r}: {earlier.answer}", "a new measurement makes a new record")
    if earlier.url != prepared.url and not again:  # a record that came from somewhere else does not say whom to ask
        raise SubmitUnknown(f"an earlier submission of record {prepared.record.id} went to {earlier.url}, not to {prepared.url}, and its end is not known",
                            f"look at {earlier.url}; if it is not there, --again")
    if earlier.event_id and earlier.url == prepared.url:
        outcome = gradio.resume(earlier.url, FUNCTION, earlier.event_id, patience)
        if outcome.state != "unknown" or not again:
            return conclude(path, earlier, outcome)
    if not again:
        raise SubmitUnknown(f"an earlier submission of record {prepared.record.id} ({earlier.started.isoformat(timespec='seconds')}) may "
                            f"have arrived: {earlier.answer or 'the tool ended while it was sent'}",
                            f"look at {earlier.url}; if it is not there, --again")
    return None


def conclude(path: Path, entry: Submission, outcome: Reply) -> Submission:
    """Write down how it ended, and raise unless it is complete."""
    ended = entry.model_copy(update={"state": outcome.state, "answer": outcome.answer, "event_id": outcome.event_id or entry.event_id})
    write(path, ended)
    if outcome.state == "complete":
        return ended
    if outcome.state == "unknown":
        raise SubmitUnknown(f"{entry.url}: it is not known whether the result arrived: {outcome.answer}",
                            "the same command asks again and sends nothing twice")
    verb = "did not take the result" if outcome.state == "rejected" else "could not be reached; nothing was sent"
    raise SubmitFailed(f"{entry.url} {verb}: {outcome.answer}", "submit again when that is mended")


def write(path: Path, submission: Submission) -> None:
    """Replace a journal entry; a full disk is told, and leaves the older, more careful state."""
    try:
        write_atomically(path, submission.model_dump_json(indent=1).encode())
    except TuneforkError as error:
        raise SubmitUnknown(f"the submission is {submission.state} ({submission.answer or submission.event_id}), and that could not be "
                            f"written down: {error.message}", "note it; free space") from error
