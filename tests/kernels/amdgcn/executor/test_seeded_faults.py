"""Faults seeded into the executor, one line at a time: a test of this folder sees each. What AMD's pseudo-code sees of them is in test_oracle.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from loading import module

faults: Any = module("seeded_faults", Path(__file__).with_name("seeded_faults.py"))

DOCUMENT = Path(__file__).parents[4] / "docs" / "gfx950.md"


@pytest.mark.slow
@pytest.mark.parametrize("fault", faults.FAULTS, ids=str)
def test_a_seeded_fault_is_seen(fault: Any) -> None:
    with faults.seeded(fault):
        assert faults.failure(fault.seen_by) is not None, f"{fault.seen_by} holds with {fault.module} changed so that {fault.does}"


@pytest.mark.slow
def test_what_sees_the_faults_holds_without_them() -> None:
    """Otherwise a test that always fails would count as seeing everything; and the copy with the fault is gone afterwards."""
    for check in sorted({fault.seen_by for fault in faults.FAULTS}):
        assert (error := faults.failure(check)) is None, f"{check}: {error}"


def test_every_family_has_three() -> None:
    assert min(Counter(fault.family for fault in faults.FAULTS).values()) >= 3
    assert len(set(map(str, faults.FAULTS))) == len(faults.FAULTS)


def test_the_page_lists_them() -> None:
    listed = [line for line in DOCUMENT.read_text().splitlines() if "`test_" in line and "::" in line]
    assert listed == faults.shown(), "docs/gfx950.md is behind; its rows must be:\n" + "\n".join(faults.shown())
