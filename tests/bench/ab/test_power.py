"""Power: published figures, and the number of pairs by search."""

from __future__ import annotations

import pytest

from tunefork.bench.ab import power


@pytest.mark.parametrize(("pairs", "effect"), [(6, 1.44), (10, 1.0)])
def test_the_protocols_figures(pairs: int, effect: float) -> None:
    assert power.detectable(pairs) == pytest.approx(effect, abs=0.011)


def test_pairs_for_is_the_least() -> None:
    needed = power.pairs_for(0.02, 0.03)
    assert needed is not None
    assert power.power(needed, 2 / 3) >= 0.8 > power.power(needed - 1, 2 / 3)


def test_hopeless_and_trivial() -> None:
    assert power.pairs_for(1e-5, 0.1) is None
    assert power.pairs_for(0.01, 0.0) == 2
    assert power.pairs_for(1.0, 1e-4) == 2


def test_pairs_for_width_is_the_least() -> None:
    needed = power.pairs_for_width(0.01, 0.01)
    assert needed == 7  # t(.975, 6) / sqrt 7 = 0.925; t(.975, 5) / sqrt 6 = 1.049
