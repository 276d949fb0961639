"""Patches with a few of their bytes or lines changed: never another tree than git, or patch, makes of them with exit code 0, never a traceback,
never a byte that is neither taken nor named. Of a mail's words: never others than git am's without a note.

Full budget 20,000 mails, 10,000 quilt entries, 2,000 mails with other words; ``mutate.py`` draws as many as there is time for.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter

import pytest
from budgets import examples
from mutate import FAULT, SAME, Trial, drawn
from mutations import SEEDS, mutated

SHARES = {"mail": (16, 20_000, [1, 0, 0]), "quilt": (18, 10_000, [0, 1, 0]), "words": (20, 2_000, [0, 0, 1])}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    if shutil.which("patch") is None:
        pytest.skip("NOT TESTED: patch is not installed (apt install patch)")
    return Trial(tmp_path_factory.mktemp("mutations") / "trial")


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARES)
def test_no_mutation_makes_what_the_tool_does_not(kind: str, trial: Trial) -> None:
    seed, full, shares = SHARES[kind]
    draw, seen, wrong = random.Random(seed), Counter[str](), []
    for _ in range(examples(full)):
        data = drawn(draw, shares)[1]
        verdict, what = trial.one(kind, data)
        seen[verdict] += 1
        if verdict == FAULT:
            wrong.append((data, what))
    print(dict(seen))
    assert not wrong, "".join(f"\n{data.decode('utf-8', 'replace')}\n{what}" for data, what in wrong[:5])
    assert seen[SAME] > seen.total() // 10  # the mutations are mild enough to say something


def test_a_fault_is_seen(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judges are not blind, nor become so: a reader that loses a line is found in most of what it takes, also after thousands."""
    trial.judges.judged = 4_000  # the next makes its folder of objects, also where no test was before
    taken = [data for data in (mutated(random.Random(number), SEEDS) for number in range(40)) if trial.one("mail", data)[0] == SAME]
    ours = Trial.ours

    def losing(self: Trial, data: bytes, *, quilt: bool = False) -> object:
        found = ours(self, data, quilt=quilt)
        if found is not None:
            found.entries = dict(list(found.entries.items())[1:])
        return found

    monkeypatch.setattr(Trial, "ours", losing)
    assert {trial.one("mail", data)[0] for data in taken} == {FAULT}
    monkeypatch.setattr(Trial, "ours", lambda self, data, **more: 1 / 0)
    assert trial.one("mail", taken[0])[0] == FAULT
    assert len(taken) > 5
