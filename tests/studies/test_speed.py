"""What the speed study times, on the real vLLM tree: each case does the work that its name says. How long it takes is the study's to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from studies.series import speed
from tunefork.base.layout import Layout
from tunefork.patchset.checkout.apply import Applied, apply
from tunefork.patchset.git import Git
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Made, materialise

PATCHES = 12


@pytest.mark.e2e
def test_each_case_does_what_its_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Applied] = []
    made: list[int] = []

    def noted(*given: Any) -> Applied:
        done.append(apply(*given))
        return done[-1]

    def counted(git: Git, start: str, patches: Sequence[PatchFile], *more: Any) -> list[Made]:
        made.append(len(patches))
        return materialise(git, start, patches, *more)

    monkeypatch.setattr(speed, "apply", noted)
    monkeypatch.setattr("tunefork.patchset.checkout.bring.materialise", counted)
    here = Layout.here()
    timings = speed.measure(here.cache, here.root, tmp_path, count=PATCHES, rounds=2)
    assert [(timing.case, len(timing.seconds)) for timing in timings] == [(case, 2) for case in ("git am -3", "whole", "last edited", "nothing")]
    timed = [one for one in done if one.variant != "base"]
    whole, edited = {"applied": PATCHES}, {"kept": PATCHES - 1, "applied": 1}
    assert [Counter(patch.state for patch in one.patches) for one in timed] == [whole, edited] * 2
    assert [count for count in made if count] == [PATCHES, 1] * 2, "patches made into commits"
    assert [one.changed for one in timed] == [PATCHES, 1] * 2
