"""The end of a log: short, clean, whatever was written."""

from __future__ import annotations

from pathlib import Path

from tunefork.bench.server.logtail import last_lines


def test_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n\ntwo\nthree\n")
    assert last_lines(log, 2) == ["two", "three"]
    assert last_lines(log, 9) == ["one", "two", "three"]


def test_of_a_progress_bar_its_last_state_without_colours(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x1b[32mloading\x1b[0m\n 10%\r 50%\r100%\n")
    assert last_lines(log, 5) == ["loading", "100%"]


def test_long_lines_are_cut_and_bytes_that_are_not_text_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 5000 + b"\n\xff\n")
    long, odd = last_lines(log, 5)
    assert len(long) == 240
    assert odd == "�"


def test_only_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(200_000)))
    assert last_lines(log, 1) == ["line 199999"]
    assert len(last_lines(log, 10**6)) < 10_000


def test_a_missing_log_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none", 3) == []
