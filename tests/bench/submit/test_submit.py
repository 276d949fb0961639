"""Nothing is reported as submitted that was not, and nothing is submitted twice, whatever the leaderboard does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tunefork.base.errors import TuneforkError
from tunefork.bench.errors import SubmitFailed, SubmitRefused, SubmitUnknown
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.schema import Accuracy, Limit, Problem, Record, Submission, utc_now
from tunefork.bench.records.store import Store
from tunefork.bench.submit import gradio
from tunefork.bench.submit.gradio import Patience, end
from tunefork.bench.submit.submit import Attempts, Prepared, prepare, submit

TREE = "c" * 40
HASTE = Patience(post_s=0.5, stream_s=1.5, retries=3, backoff_s=0.02)
Measured = Callable[..., Record]
Board = Callable[..., Any]


def ready(record: Record, rules: Rules, url: str, team: str = "us") -> Prepared:
    return prepare(record, rules, team, tree=TREE, url=url)


def journal(store: Store, record: Record) -> list[str]:
    """The states in a record's journal."""
    paths = Attempts(store.path(record.id)).paths()
    return [Submission.model_validate_json(path.read_bytes()).state for path in paths]


def attempt(store: Store, prepared: Prepared, **options: Any) -> str:
    """"complete", or the name of the error."""
    try:
        return submit(store, prepared, patience=HASTE, **options).state
    except TuneforkError as error:
        return type(error).__name__


def test_what_is_sent_is_what_was_measured(store: Store, seed: Rules, measured: Measured, leaderboard: Board) -> None:
    board, record = leaderboard(), measured()
    done = submit(store, ready(record, seed, board.url), patience=HASTE)
    # team, conc, e2e, tput, b200 e2e, b200 tput, e2e ratio, tput ratio, intvty, b200 intvty, intvty ratio, the three accuracies
    assert board.rows == [["us", 4, 2000.0, 2000.0, 2275.0, 1752.338, 2000 / 2275, 2000 / 1752.338, 500.0, 408.4, 500 / 408.4,
                           2.0, 4.0, 200.0]]
    assert done.answer == '["taken: us"]'
    assert journal(store, record) == ["complete"]
    assert store.verify(record.id) == record, "the record itself is as it was"


@pytest.mark.parametrize("team", ["O'Hara \"the\" team", "münchen 東京 🚀", "  two  spaces ", "$(touch /tmp/x); `ls`", "a\\b", "one\u2028line"])
def test_any_team_name(store: Store, seed: Rules, measured: Measured, leaderboard: Board, team: str) -> None:
    board = leaderboard()
    assert attempt(store, ready(measured(), seed, board.url, team)) == "complete"
    assert [row[0] for row in board.rows] == [team]


# fault, how often, what is said, how many rows the leaderboard has, how often it was posted to, what is in the journal
FAULTS = [
    ("error", 9, "SubmitFailed", 0, 1, "rejected"),
    ("error text", 9, "SubmitFailed", 0, 1, "rejected"),
    ("post hangs", 9, "SubmitUnknown", 0, 1, "unknown"),
    ("post disconnects", 9, "SubmitUnknown", 1, 1, "unknown"),
    ("post 500", 9, "SubmitUnknown", 0, 1, "unknown"),
    ("post 422", 9, "SubmitFailed", 0, 1, "rejected"),
    ("post 429", 1, "complete", 1, 2, "complete"),
    ("post 503", 9, "SubmitFailed", 0, 3, "unsent"),
    ("post without an event", 9, "SubmitUnknown", 0, 1, "unknown"),
    ("stream hangs", 9, "SubmitUnknown", 1, 1, "unknown"),
    ("stream disconnects", 1, "complete", 1, 1, "complete"),
    ("stream disconnects", 9, "SubmitUnknown", 1, 1, "unknown"),
    ("stream 404", 9, "SubmitUnknown", 1, 1, "unknown"),
    ("stream 500", 1, "complete", 1, 1, "complete"),
    ("complete without data", 9, "SubmitUnknown", 1, 1, "unknown"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "times", "says", "rows", "posts", "state"), FAULTS)
def test_faults(store: Store, seed: Rules, measured: Measured, leaderboard: Board, fault: str, times: int, says: str, rows: int,
                posts: int, state: str) -> None:
    board, record = leaderboard(fault, times), measured()
    prepared = ready(record, seed, board.url)
    assert attempt(store, prepared) == says
    assert (len(board.rows), board.posts, journal(store, record)) == (rows, posts, [state])
    board.fault = ""
    again = attempt(store, prepared)
    assert len(board.rows) <= 1, "never twice"
    assert (again == "complete") <= (len(board.rows) == 1), "never a success that is none"


def test_nobody_there(store: Store, seed: Rules, measured: Measured, leaderboard: Board) -> None:
    board, record = leaderboard(), measured()
    url = board.url
    board.close()
    with pytest.raises(SubmitFailed, match="could not be reached; nothing was sent"):
        submit(store, ready(record, seed, url), patience=HASTE)
    assert journal(store, record) == ["unsent"]


def test_a_second_time_is_refused(store: Store, seed: Rules, measured: Measured, leaderboard: Board) -> None:
    board, record = leaderboard(), measured()
    prepared = ready(record, seed, board.url)
    assert attempt(store, prepared) == "complete"
    for options in ({}, {"again": True}):
        with pytest.raises(SubmitRefused, match="was submitted"):
            submit(store, prepared, patience=HASTE, **options)
    assert (len(board.rows), board.posts) == (1, 1)


@pytest.mark.slow
def test_an_unknown_end_is_asked_for_again_and_not_sent_again(store: Store, seed: Rules, measured: Measured, leaderboard: Board) -> None:
    board, record = leaderboard("stream hangs"), measured()
    prepared = ready(record, seed, board.url)
    assert attempt(store, prepared) == "SubmitUnknown"
    board.fault = ""
    assert attempt(store, prepared) == "complete"
    assert (len(board.rows), board.posts, journal(store, record)) == (1, 1, ["complete"])


def test_again_sends_once_more_only_where_the_end_is_not_known(store: Store, seed: Rules, measured: Measured, leaderboard: Board) -> None:
    board, record = leaderboard("post hangs"), measured()
    prepared = ready(record, seed, board.url)
    assert attempt(store, prepared) == "SubmitUnknown"
    board.fault = ""
    assert attempt(store, prepared) == "SubmitUnknown", "not without --again"
    assert attempt(store, prepared, again=True) == "complete"
    assert journal(store, record) == ["unknown", "complete"]


def test_a_tool_that_was_killed_while_sending_leaves_an_open_question(store: Store, seed: Rules, measured: Measured,
                                                                     leaderboard: Board) -> None:
    board, record = leaderboard(), measured()
    prepared = ready(record, seed, board.url)
    left = Submission(state="sending", url=board.url, team="us", data=prepared.data, started=utc_now())
    Attempts(store.path(record.id)).open(left, 1)
    with pytest.raises(SubmitUnknown, match="the tool ended while it was sent"):
        submit(store, prepared, patience=HASTE)
    assert board.posts == 0


def test_a_damaged_journal_is_an_open_question(store: Store, seed: Rules, measured: Measured, leaderboard: Board) -> None:
    board, record = leaderboard(), measured()
    (store.path(record.id) / "submission-1.json").write_text("{half")
    assert attempt(store, ready(record, seed, board.url)) == "SubmitUnknown"
    assert board.posts == 0


def test_many_at_once_send_once(store: Store, seed: Rules, measured: Measured, leaderboard: Board) -> None:
    board, record = leaderboard(), measured()
    prepared = ready(record, seed, board.url)
    ends: list[str] = []
    threads = [threading.Thread(target=lambda: ends.append(attempt(store, prepared))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(board.rows), board.posts) == (1, 1)
    assert set(ends) <= {"complete", "SubmitRefused", "SubmitUnknown"}
    assert "complete" in ends


def missed(record: Record) -> Accuracy:
    assert record.accuracy is not None
    limit = Limit(name="bits_per_byte", value=3.0, at_most=2.0, passed=False)
    return record.accuracy.model_copy(update={"status": "missed", "limits": (limit,)})


@pytest.mark.parametrize(("change", "says"), [
    (lambda record: {"status": "failed", "problems": (Problem(kind="x", message="3 of 40 requests failed"),), "score": None},
     "did not pass: 3 of 40 requests failed"),
    (lambda record: {"accuracy": None}, "the accuracy was not measured"),
    (lambda record: {"accuracy": missed(record)}, "the accuracy gate was missed"),
    (lambda record: {"created": utc_now() - timedelta(hours=25)}, "was measured 25 hours ago"),
    (lambda record: {"created": utc_now() + timedelta(hours=2)}, "in the future"),
    (lambda record: {"trees": (record.trees[0].model_copy(update={"tree": "d" * 40}),)}, "measured the vLLM tree dddddddddddd"),
    (lambda record: {"trees": ()}, "of a server"),
])
def test_what_may_not_go(seed: Rules, measured: Measured, change: Callable[[Record], dict[str, Any]], says: str) -> None:
    record = measured()
    with pytest.raises(SubmitRefused, match=says):
        ready(record.model_copy(update=change(record)), seed, "http://127.0.0.1:1")


def test_a_missing_baseline_is_refused_or_sent_as_null(seed: Rules, measured: Measured) -> None:
    record = measured(conc=16)
    with pytest.raises(SubmitRefused, match="has no baseline"):
        ready(record, seed, "http://x")
    data = prepare(record, seed, "us", tree=TREE, no_baseline=True).data
    assert [data[i] for i in (4, 5, 6, 7, 9, 10)] == [None] * 6
    assert json.loads(json.dumps(data)).count(0) == 0


@pytest.mark.parametrize("team", ["", "  ", "a\nb", "a\0b"])
def test_a_name_that_is_none(seed: Rules, measured: Measured, team: str) -> None:
    with pytest.raises(SubmitRefused, match="team"):
        ready(measured(), seed, "http://x", team)


def test_the_leaderboards_addresses(seed: Rules, measured: Measured) -> None:
    assert prepare(measured(), seed, "us", tree=TREE).url == "https://daniehua-gptoss-fp4-vllm-isl8192osl1024.hf.space"


@pytest.mark.parametrize(("data", "state"), [
    ('["✅ Results submitted"]', "complete"), ('["Submission successful!", 3]', "complete"), ('["taken: us"]', "complete"),
    ('["Submission failed: team unknown"]', "rejected"), ('["Your results could not be saved"]', "unknown"), ('["❌ no"]', "rejected"),
    ('["Not submitted: CONC 4 is unknown"]', "unknown"), ('["rate limit exceeded"]', "rejected"),
    *((json.dumps([said]), "unknown") for said in (
        "Success: false", '{"success": false}', "success=0", "No submission was recorded", "Recorded nothing", "0 rows added", "We received no results",
        "Thanks, but the contest is closed", "Submitted too late", "Your submission was received after the deadline", "Accepted: no",
        "Score saved as draft; disqualified", "Submission received, it will be reviewed", "Finished, no error", "The file was read", "Thank you",
        "Submission must be accepted by an organiser", "Your team has submitted 3 times today", "Nothing failed")),
    *((json.dumps([said]), "complete") for said in (
        "✅ Submission successful! Score 0.98", "Your results have been recorded.", "Submission accepted for team 'us'", "Successfully submitted",
        "Results for team us saved")),
    ("null", "unknown"), ("[]", "unknown"), ("[null]", "unknown"), ('[""]', "unknown"), ('["queued"]', "unknown"), ('{"ok": true}', "unknown"),
])
def test_only_the_leaderboards_own_yes_is_a_success(data: str, state: str) -> None:
    ended = end("complete", data, "e1")
    assert ended is not None and ended.state == state


@pytest.mark.parametrize("event", ["e", "../../../x?y=", "a/b", ""])
def test_a_record_does_not_say_whom_to_ask(store: Store, seed: Rules, measured: Measured, leaderboard: Board, event: str) -> None:
    """A submission file beside a record from somewhere else: its address is not asked, and its answer is none."""
    board, elsewhere, record = leaderboard(), leaderboard(), measured()
    entry = Submission(state="accepted", url=elsewhere.url, team="us", data=("us",), started=utc_now(), event_id=event)
    (store.path(record.id) / "submission-1.json").write_text(entry.model_dump_json())
    assert attempt(store, ready(record, seed, board.url)) == "SubmitUnknown"
    assert elsewhere.posts == board.posts == elsewhere.gets == board.gets == 0 and not elsewhere.rows


def test_an_event_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunefork.bench.submit.gradio.follow", lambda *_args: pytest.fail("it was asked"))
    assert gradio.resume("http://127.0.0.1:9", "f", "../../../x?y=").state == "unknown"
    assert isinstance(gradio.event_id(httpx.Response(200, json={"event_id": "a/../b"})), gradio.Reply)


def test_other_files_beside_a_record_are_no_submissions(store: Store, measured: Measured) -> None:
    record = measured()
    for name in ("submission-x.json", "submission-1.json.tmp", "submission-.json"):
        (store.path(record.id) / name).write_text("{}")
    assert journal(store, record) == []
