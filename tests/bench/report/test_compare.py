"""Two records beside each other."""

from __future__ import annotations

from types import ModuleType

from tunefork.bench.report.compare import compare


def test_numbers_ratios_and_what_differs(samples: ModuleType) -> None:
    found = compare(samples.record(1, "base"), samples.record(2, "only:p", factor=1.5))
    numbers = {one.name: one for one in found.numbers}
    assert numbers["score.tput_per_gpu"].ratio_shown == "1.5000"
    assert numbers["metrics.median_e2el_ms"].ratio_shown == "0.6667"
    assert [name for name, _, _ in found.differences] == ["trees"]
    assert len(found.warnings) == 1


def test_other_chips_and_loads_are_warned_of(samples: ModuleType) -> None:
    other = samples.HOST.model_copy(update={"gpus": ("another simulated chip",)})
    found = compare(samples.record(1), samples.record(2, conc=32, host=other))
    text = " ".join(found.warnings)
    assert "other machines: 1 x simulated chip of simulator; 1 x another simulated chip" in text
    assert "conc 4 and 32" in text


def test_a_failed_record_is_told(samples: ModuleType) -> None:
    found = compare(samples.record(1), samples.failed(2))
    assert any("failed: 3 of 40 requests failed" in line for line in found.warnings)
    assert next(one for one in found.numbers if one.name == "score.tput_per_gpu").second is None
