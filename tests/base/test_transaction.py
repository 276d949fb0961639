"""tunefork/base/transaction.py: a journal is whole or absent, and a damaged one says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefork.base.transaction import Damaged, Transaction, bytes_of, text_of


def test_what_was_written_last_is_what_is_read(tmp_path: Path) -> None:
    this = Transaction(tmp_path / "deep" / "journal.json")
    assert not this.under_way and this.read(dict, "") is None
    this.step({"at": 1})
    this.step({"at": 2})
    assert this.under_way and this.read(lambda data: data["at"], "") == 2


def test_the_end_takes_what_a_kill_left_of_writing_it(tmp_path: Path) -> None:
    this = Transaction(tmp_path / "journal.json")
    this.step({})
    (tmp_path / "journal.json.tmp123").write_text("{")
    (tmp_path / "journal.jsonl").write_text("another's")
    this.end()
    this.end()
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


@pytest.mark.parametrize("data", ["{", "[]", "null", '{"other": 1}', "\xff"])
def test_a_damaged_journal_says_so_and_what_to_type(tmp_path: Path, data: str) -> None:
    this = Transaction(tmp_path / "journal.json")
    this.journal.write_bytes(data.encode("latin-1"))
    with pytest.raises(Damaged, match=r"journal\.json is damaged") as caught:
        this.read(lambda found: found["at"], "type this")
    assert caught.value.remedy == "type this"


def test_every_byte_comes_back() -> None:
    every = bytes(range(256))
    assert bytes_of(text_of(every)) == every
