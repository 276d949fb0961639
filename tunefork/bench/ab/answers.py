"""What lm_eval's samples say of each question, and how two arms differ on the same questions.

Where an experiment asks for it, each comparison's first pair also runs the profile's accuracy task on both arms; the samples stay in
``<experiment>/accuracy/<comparison>-<arm>/``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunefork.base import jsons
from tunefork.bench.ab.accuracy import AccuracyDifference, bits_per_byte, mcnemar
from tunefork.bench.ab.experiment import Comparison
from tunefork.bench.errors import AccuracyUnknown
from tunefork.bench.gate.accuracy import evaluate
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.profiles.rules import Gate
from tunefork.bench.server.target import Target


def place(where: Path, comparison: str, arm: str) -> Path:
    """The folder of one arm's answers."""
    return where / "accuracy" / f"{comparison.replace(':', '-') or 'only'}-{arm}"


ANEW = "the same command with another --name asks both arms anew: a finished pair is not made again"


def check(profile: Profile, *, asked: bool) -> None:
    """AccuracyUnknown where a task is asked of a profile that has none: before a server is started for it."""
    if asked and rules.load(profile).accuracy is None:
        raise AccuracyUnknown("--accuracy: the profile has no accuracy task", "the same command without --accuracy; or gates = \"seed\" in the profile")


def ask(target: Target, gate: Gate | None, folder: Path) -> None:
    """Run the task, unless its samples are there. AccuracyUnknown where lm_eval gives no valid answer. gate: as ``check`` saw it."""
    assert gate is not None
    if not samples(folder):
        shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
        folder.parent.mkdir(parents=True, exist_ok=True)
        evaluate(target, gate, folder)


def samples(folder: Path) -> list[Path]:
    """lm_eval's sample files, written at the end of its run."""
    return sorted(folder.glob("samples_*.jsonl"))


def differences(where: Path, comparisons: Sequence[Comparison]) -> dict[str, AccuracyDifference]:
    """By comparison, where both arms have answered."""
    found = {}
    for one in comparisons:
        a, b = (place(where, one.name, arm) for arm in "AB")
        if samples(a) and samples(b):
            found[one.name] = difference(read(a), read(b))
    return found


def read(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Samples by (task's file, question); of a task with several filters the first counts. AccuracyUnknown where one is none."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in samples(folder):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                sample = jsons.loads(line)
                # The file's name ends in a time; what is before it names the task.
                found.setdefault((path.stem.rpartition("_")[0], str(sample["doc_id"])), sample)
            except (ValueError, KeyError, TypeError) as error:
                raise AccuracyUnknown(f"{path} holds a line that is no sample ({type(error).__name__}: {error})", ANEW) from None
    return found


def difference(a: dict[tuple[str, str], dict[str, Any]], b: dict[tuple[str, str], dict[str, Any]]) -> AccuracyDifference:
    """McNemar on right and wrong answers, bits per byte on scored text; AccuracyUnknown where the arms had other questions."""
    keys = sorted(a)
    if keys != sorted(b) or any(a[key].get("doc_hash") != b[key].get("doc_hash") for key in keys):
        raise AccuracyUnknown("the arms answered other questions", ANEW)
    if all("bits_per_byte" in one for arm in (a, b) for one in arm.values()):
        bits = [[-float(arm[key]["bits_per_byte"][0]) / math.log(2) for key in keys] for arm in (a, b)]
        return bits_per_byte(bits[0], bits[1], [int(a[key]["bits_per_byte"][1]) for key in keys])
    if all("exact_match" in one for arm in (a, b) for one in arm.values()):
        right = [[float(arm[key]["exact_match"]) >= 0.5 for key in keys] for arm in (a, b)]
        return mcnemar(right[0], right[1])
    raise AccuracyUnknown("lm_eval's samples have neither exact_match nor bits_per_byte",
                          "a profile whose gates' task has one of them, as \"seed\" and \"smoke\" do; with another --name")


def said(found: AccuracyDifference) -> str:
    """One line."""
    return (f"{found.unit}: A {found.a:.4f}, B {found.b:.4f}, difference {found.difference:+.4f} "
            f"(95 % {found.lo:+.4f} to {found.hi:+.4f}, p {found.p:.3g}, {found.samples} questions)")
