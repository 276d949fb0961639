"""lm_eval's samples as it writes them, read and compared."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tunefork.bench.ab.answers import difference, differences, place, read
from tunefork.bench.ab.experiment import Comparison
from tunefork.bench.errors import AccuracyUnknown


def write(folder: Path, lines: list[dict[str, object]], task: str = "gsm8k") -> Path:
    folder.mkdir(parents=True)
    (folder / f"samples_{task}_2026-11-22T09-44-44.805129.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def right(*values: float) -> list[dict[str, object]]:
    return [{"doc_id": number, "doc_hash": f"h{number}", "filter": name, "exact_match": value} for number, value in enumerate(values)
            for name in ("strict-match", "flexible-extract")]


def text(*values: float) -> list[dict[str, object]]:
    return [{"doc_id": number, "doc_hash": f"h{number}", "filter": "none", "bits_per_byte": [-value * 100 * math.log(2), 100]}
            for number, value in enumerate(values)]


def test_right_and_wrong_by_question(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", right(1, 1, 0, 1)), write(tmp_path / "b", right(1, 0, 0, 0))
    found = difference(read(a), read(b))
    assert (found.unit, found.samples, found.a, found.b, found.p) == ("share correct", 4, 0.75, 0.25, 0.5)


def test_bits_per_byte_of_documents(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", text(1.0, 2.0)), write(tmp_path / "b", text(1.1, 2.1))
    found = difference(read(a), read(b))
    assert (found.unit, found.a, found.b) == ("bits per byte", pytest.approx(1.5), pytest.approx(1.6))


def test_other_questions_are_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a", right(1, 1)), write(tmp_path / "b", right(1, 1, 1))
    with pytest.raises(AccuracyUnknown, match="other questions"):
        difference(read(a), read(b))


def test_only_comparisons_that_both_arms_answered(tmp_path: Path) -> None:
    comparisons = [Comparison("alone:p", "base", "only:p"), Comparison("alone:q", "base", "only:q")]
    write(place(tmp_path, "alone:p", "A"), right(1, 0))
    write(place(tmp_path, "alone:p", "B"), right(1, 1))
    write(place(tmp_path, "alone:q", "A"), right(1, 0))
    assert list(differences(tmp_path, comparisons)) == ["alone:p"]
