"""`bench submit` from a shell: dry run, asking, the batch form, exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store
from tunefork.bench.run.batch import Batch
from tunefork.bench.run.settings import Settings

DRIVER = """
import sys
from pathlib import Path
from tunefork.patchset.checkout import applied
tree = applied.AppliedTree("vllm", "all", Path("/nowhere"), "sdist", "a" * 40, "b" * 40, "c" * 40, ())
applied.applied_tree = lambda layout, upstream, variant=None: tree
from tunefork.cli.main import main
sys.exit(main(["bench", "submit", "--json", *sys.argv[1:]]))
"""


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., Any]:
    def call(*arguments: str) -> Any:
        return subprocess.run([sys.executable, "-c", DRIVER, *arguments], capture_output=True, text=True, check=False, timeout=60,
                              stdin=subprocess.DEVNULL, env={**os.environ, "TUNEFORK_ROOT": str(tmp_path)}, cwd=tmp_path)
    return call


@pytest.mark.slow
def test_dry_run_then_nobody_to_ask_then_yes_then_never_again(submit: Any, measured: Callable[..., Record], leaderboard: Any,
                                                              store: Store) -> None:
    board, record = leaderboard(), measured()
    words = (record.id, "--team", "O'Hara 東京", "--url", board.url)
    shown = submit(*words, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["submissions"][0]["data"][0] == "O'Hara 東京"
    assert "would go to" in shown.stderr
    asked = submit(*words)
    assert asked.returncode == 2
    assert "nobody is here to say yes" in asked.stderr
    assert board.posts == 0
    assert not list(store.path(record.id).glob("submission-*"))
    sent = submit(*words, "--yes")
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["submissions"][0]["state"] == "complete"
    twice = submit(*words, "--yes")
    assert twice.returncode == 14
    assert (len(board.rows), board.posts) == (1, 1)


@pytest.mark.slow
def test_a_dry_run_needs_no_team(submit: Any, measured: Callable[..., Record], leaderboard: Any) -> None:
    board, record = leaderboard(), measured()
    shown = submit(record.id, "--url", board.url, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["submissions"][0]["data"][0] == "(no --team yet)"
    refused = submit(record.id, "--url", board.url, "--yes")
    assert refused.returncode == 2
    assert "TEAM_NAME_ENV" in refused.stderr
    assert board.posts == 0


def test_the_guides_variables_are_a_team_and_an_address(submit: Any, measured: Callable[..., Record], leaderboard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    board, record = leaderboard(), measured()
    monkeypatch.setenv("LB_URL_OVERRIDE", board.url)
    monkeypatch.setenv("TEAM_NAME_ENV", "us")
    shown = json.loads(submit(record.id, "--dry-run").stdout)["submissions"][0]
    assert (shown["url"], shown["data"][0]) == (board.url, "us")


def test_the_guides_words_without_run_are_answered_with_the_command_that_measures(submit: Any) -> None:
    done = submit("O'Hara", "-isl", "1024", "-osl", "1024")
    assert done.returncode == 2
    assert """python3 build.py bench run --profile seed submit 'O'"'"'Hara' -isl 1024 -osl 1024""" in done.stderr, done.stderr


@pytest.mark.slow
def test_what_has_no_baseline_is_left_out_of_a_batch(submit: Any, measured: Callable[..., Record], seed: Any, leaderboard: Any, tmp_path: Path) -> None:
    board = leaderboard()
    batch = Batch.create(tmp_path, Settings(profile="seed"), 8192, 1024, (4, 16), tree="c" * 40, version="0.29.0")
    batch.mark(4, "passed", record=measured(conc=4).id)
    batch.mark(16, "passed", record=measured(conc=16).id)
    words = (str(batch.folder), "--team", "us", "--url", board.url, "--yes")
    refused = submit(*words, "--all-or-nothing")
    assert refused.returncode == 14
    assert "CONC 16 has no baseline" in refused.stderr
    sent = submit(*words)
    assert sent.returncode == 0, sent.stderr
    assert "CONC 16 is left out: no baseline was published" in sent.stderr
    assert [row[1] for row in board.rows] == [4]
    assert submit(*words, "--no-baseline").returncode == 14, "CONC 4 was taken already"
    assert [row[1] for row in board.rows] == [4, 16], "and that does not hold back the other"


def test_a_failed_conc_holds_back_no_other(submit: Any, measured: Callable[..., Record], leaderboard: Any, tmp_path: Path) -> None:
    board = leaderboard()
    batch = Batch.create(tmp_path, Settings(profile="seed"), 8192, 1024, (4, 8), tree="c" * 40, version="0.29.0")
    batch.mark(4, "passed", record=measured(conc=4).id)
    batch.mark(8, "failed", problem="3 of 80 requests failed")
    sent = submit(str(batch.folder), "--team", "us", "--url", board.url, "--yes")
    assert sent.returncode == 0, sent.stderr
    assert "CONC 8 is left out, it is failed: 3 of 80 requests failed" in sent.stderr
    assert [row[1] for row in board.rows] == [4]


@pytest.mark.slow
def test_a_batch_is_all_or_nothing_where_that_is_asked(submit: Any, measured: Callable[..., Record], leaderboard: Any, tmp_path: Path) -> None:
    board = leaderboard()
    batch = Batch.create(tmp_path, Settings(profile="seed"), 8192, 1024, (4, 8), tree="c" * 40, version="0.29.0")
    batch.mark(4, "passed", record=measured(conc=4).id)
    batch.mark(8, "failed", problem="3 of 80 requests failed")
    words = (str(batch.folder), "--team", "us", "--url", board.url, "--yes", "--all-or-nothing")
    refused = submit(*words)
    assert refused.returncode == 2
    assert "CONC 8 failed: 3 of 80 requests failed" in refused.stderr
    assert board.posts == 0
    batch.mark(8, "passed", record=measured(conc=8).id)
    assert submit(*words).returncode == 0
    assert [row[1] for row in board.rows] == [4, 8]


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "code"), [("error", 15), ("post 500", 16)])
def test_exit_codes(submit: Any, measured: Callable[..., Record], leaderboard: Any, fault: str, code: int) -> None:
    done = submit(measured().id, "--team", "us", "--url", leaderboard(fault).url, "--yes")
    assert done.returncode == code, done.stderr


def test_a_damaged_record_is_17(submit: Any, measured: Callable[..., Record], store: Store) -> None:
    record = measured()
    path = store.path(record.id) / "record.json"
    path.write_bytes(path.read_bytes().replace(b"2000", b"1000"))
    done = submit(record.id, "--team", "us", "--dry-run")
    assert done.returncode == 17
    assert "is damaged" in done.stderr


@pytest.mark.slow
def test_remedies_of_a_refusal_and_of_a_failure_help(submit: Any, measured: Callable[..., Record], leaderboard: Any, store: Store) -> None:
    """SubmitRefused: the option that it names. SubmitFailed and SubmitUnknown: the same command again, which sends nothing twice."""
    board, record = leaderboard("error", 1), measured()
    words = (record.id, "--url", board.url, "--yes")
    refused = submit(*words, "--team", " ")
    assert refused.returncode == 14 and "try: --team NAME" in refused.stderr
    failed = submit(*words, "--team", "us")
    assert failed.returncode == 15 and "try: submit again" in failed.stderr
    board.fault = "stream disconnects"
    board.times = 99
    unknown = submit(*words, "--team", "us")
    assert unknown.returncode == 16 and "the same command asks again and sends nothing twice" in unknown.stderr
    board.fault = ""
    again = submit(*words, "--team", "us")
    assert again.returncode == 0, again.stderr
    assert len(board.rows) == 1


@pytest.mark.slow
def test_again_and_team_as_they_are_printed(submit: Any, measured: Callable[..., Record], leaderboard: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A team that was not said; a journal that cannot be read; a tool that was killed while it sent; another leaderboard that was asked first."""
    board, record = leaderboard(), measured()
    words = (record.id, "--url", board.url, "--yes")
    refused = submit(*words)
    option, variable = re.search(r"try: (--team NAME), or export (\w+=NAME)", refused.stderr).groups()  # type: ignore[union-attr]
    assert refused.returncode == 2
    entry = store.path(record.id) / "submission-1.json"
    sending = {"state": "sending", "team": "us", "data": [], "started": "2026-11-01T00:00:00Z"}
    for number, held in enumerate(("{damaged", json.dumps({**sending, "url": board.url}), json.dumps({**sending, "url": "http://127.0.0.1:1/x"}))):
        for path in store.path(record.id).glob("submission-*"):
            path.unlink()
        entry.write_text(held)
        unknown = submit(*words, *option.split())
        printed = re.search(r"try: .*(--again)", unknown.stderr)
        assert unknown.returncode == 16 and printed is not None and len(board.rows) == number, unknown.stderr
        name, _, value = variable.partition("=")
        monkeypatch.setenv(name, value)  # the other of the two ways
        sent = submit(*words, printed[1])
        monkeypatch.delenv(name)
        assert sent.returncode == 0 and len(board.rows) == number + 1, sent.stderr


@pytest.mark.slow
def test_no_baseline_is_what_the_refusal_says(submit: Any, measured: Callable[..., Record], leaderboard: Any) -> None:
    board, record = leaderboard(), measured(conc=16)
    words = (record.id, "--team", "us", "--url", board.url, "--yes")
    refused = submit(*words)
    assert refused.returncode == 14 and "--no-baseline" in refused.stderr.partition("try:")[2], refused.stderr
    sent = submit(*words, "--no-baseline")
    assert sent.returncode == 0, sent.stderr
