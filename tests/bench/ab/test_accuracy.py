"""Accuracy differences on tables worked by hand, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.ab.accuracy import bits_per_byte, mcnemar


def answers(both: int, lost: int, gained: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + lost) + [False] * (gained + neither)
    b = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return a, b


def test_mcnemar_by_hand() -> None:
    found = mcnemar(*answers(80, 9, 1, 10))
    assert found.p == pytest.approx(2 * (1 + 10) / 1024)
    assert found.difference == pytest.approx(-0.08)
    assert found.lo < -0.08 < found.hi < 0
    assert found.samples == 100


def test_mcnemar_of_equal_answers() -> None:
    found = mcnemar(*answers(50, 0, 0, 50))
    assert (found.p, found.difference) == (1.0, 0.0)
    assert found.lo < 0 < found.hi


def test_mcnemar_needs_the_same_questions() -> None:
    with pytest.raises(BadInput, match="A has 2 answers and B 1"):
        mcnemar([True, False], [True])


def test_bits_per_byte_by_hand() -> None:
    found = bits_per_byte([100.0, 200.0], [110.0, 205.0], [50, 100])
    assert (found.a, found.b) == (pytest.approx(2.0), pytest.approx(2.1))
    assert found.difference == pytest.approx(0.1)
    assert found.lo < 0.1 < found.hi
    same = bits_per_byte([100.0, 200.0], [100.0, 200.0], [50, 100])
    assert (same.difference, same.p) == (0.0, 1.0)


def test_bits_per_byte_covers() -> None:
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(1000):
        size = draw.integers(100, 1000, 40)
        base = 2.0 * size
        other = base + 0.05 * size + draw.normal(0, 0.02, 40) * size
        found = bits_per_byte(base.tolist(), other.tolist(), size.tolist())
        covered += found.lo <= 0.05 <= found.hi
    assert 0.93 <= covered / 1000 <= 0.97
