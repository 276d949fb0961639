"""The manager's speed on the real vLLM tree, as ratios to git am in the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.series.speed import measure
from tunefork.base.layout import Layout


@pytest.mark.e2e
def test_apply_beside_git_am(tmp_path: Path) -> None:
    here = Layout.here()
    ratios = {timing.case: timing for timing in measure(here.cache, here.root, tmp_path, rounds=3)}
    print({case: (round(timing.median, 3), round(timing.ratio, 2)) for case, timing in ratios.items()})
    assert ratios["whole"].ratio <= 1.5
    assert ratios["last edited"].ratio <= 0.25
    assert min(ratios["nothing"].seconds) < 0.5  # the least of three: the claim is about the tool, not the machine's other work
