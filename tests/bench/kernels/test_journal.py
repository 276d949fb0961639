"""The tuning journal: what is written stays, what was cut off goes, what is another's or damaged is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.kernels.journal import HEADER, Journal, checksum, read

ABOUT = {"arch": "gfx950", "triton": "3.7.1"}
WRITER = """
import sys
from pathlib import Path
from tunefork.bench.kernels.journal import Journal
with Journal.open(Path(sys.argv[1]), {"arch": "gfx950", "triton": "3.7.1"}) as journal:
    for number in range(len(journal.rows), 1_000_000):
        journal.append(f"row {number}", {"us": number / 7, "text": "x" * 2000})
"""


def test_rows_come_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "j.jsonl"
    with Journal.open(path, ABOUT) as journal:
        journal.append("a", {"us": 1.5})
    with Journal.open(path, ABOUT) as journal:
        assert journal.rows == {"a": {"us": 1.5}}
        journal.append("b", {"us": 2})
    assert list(read(path)[0]) == [HEADER, "a", "b"]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.open(path, ABOUT) as journal:
        journal.append("a", {"us": 1})
        journal.append("b", {"us": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal.open(path, ABOUT) as journal:
        assert journal.rows == {"a": {"us": 1}}
        journal.append("b", {"us": 3})
    assert read(path)[0]["b"] == {"us": 3}


def test_damage_and_another_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal.open(path, ABOUT) as journal:
        journal.append("a", {"us": 1})
        journal.append("b", {"us": 2})
    with pytest.raises(BadInput, match="triton 3.7.1 there, 3.9.0 here"):
        Journal.open(path, {**ABOUT, "triton": "3.9.0"})
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace('"us": 1', '"us": 9')
    path.write_text("".join(lines))
    with pytest.raises(BadInput, match="line 2 is damaged"):
        Journal.open(path, ABOUT)
    path.write_text(json.dumps({"key": "a", "row": {}, "sum": checksum("a", {})}) + "\n")
    with pytest.raises(BadInput, match="does not begin"):
        Journal.open(path, ABOUT)


def test_kill_9_loses_at_most_the_row_under_way(tmp_path: Path) -> None:
    """Killed three times in the middle of writing, the journal goes on and has every row once, in order."""
    path = tmp_path / "j.jsonl"
    seen = 0
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        deadline = time.monotonic() + 60
        while (path.stat().st_size if path.exists() else 0) < (seen + 20) * 2000 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        rows, _ = read(path)
        rows.pop(HEADER)
        assert len(rows) >= seen + 15 and list(rows) == [f"row {number}" for number in range(len(rows))]
        seen = len(rows)


@pytest.mark.parametrize("text", ["my only line, precious\n", "a", '{"key": "(journal)"', "{}\n"])
def test_what_is_no_journal_stays_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(text)
    if text == '{"key": "(journal)"':  # what a kill leaves of the first line
        Journal.open(path, ABOUT).file.close()
        return
    with pytest.raises(BadInput, match="does not begin as a journal"):
        Journal.open(path, ABOUT)
    assert path.read_text() == text


def test_nothing_is_written_through_a_link_or_into_a_pipe(tmp_path: Path) -> None:
    outside, link, pipe = tmp_path / "outside.txt", tmp_path / "j.jsonl", tmp_path / "p.jsonl"
    link.symlink_to(outside)
    os.mkfifo(pipe)
    for path, what in ((link, "a link"), (pipe, "no file")):
        with pytest.raises(BadInput, match=what):
            Journal.open(path, ABOUT)
    assert not outside.exists()


def test_two_writers_of_one_journal(tmp_path: Path) -> None:
    """The second cut off what the first had added since it was read: a result that was on disk."""
    path = tmp_path / "j.jsonl"
    with Journal.open(path, ABOUT) as first:
        first.append("a", {"us": 1})
        with pytest.raises(BadInput, match="another process writes") as caught:
            Journal.open(path, ABOUT)
        first.append("b", {"us": 2})
    assert "wait for its end" in caught.value.remedy
    with Journal.open(path, ABOUT) as again:
        assert list(again.rows) == ["a", "b"]
