"""From what was typed to a plan: the real series and profiles, what fits, and what is refused with a way out that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.campaign import planned
from tunefork.bench.campaign.make import make
from tunefork.patchset.series.series import Series

ROOT = Path(__file__).resolve().parents[3]
DEFAULTS: dict[str, Any] = {"name": "day", "hours": 12.0, "profile": "stage2", "gpus": 8, "spaces": (), "against": "base", "only": (), "load": {}, "client": "vllm",
                            "metric": "total_token_throughput", "threshold": 0.01, "seed": 1, "confirm": "auto", "aa": None, "tune": ()}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The project's series, and no record."""
    (tmp_path / "patches").symlink_to(ROOT / "patches")
    (tmp_path / "pins.toml").symlink_to(ROOT / "pins.toml")
    return Layout(tmp_path, tmp_path / "cache")


def test_every_patch_then_profiles_then_flags(layout: Layout) -> None:
    made = make(layout, **DEFAULTS)
    names = Series.load("vllm", layout.series_dir("vllm")).names
    assert [one.name for one in made.candidates[: len(names)]] == [f"only:{name}" for name in names]
    kinds = [one.kind for one in made.candidates]
    assert kinds == sorted(kinds, key=["patch", "profile", "override", "flag"].index)
    assert made.rules.lanes == 8 and not any("tensor-parallel" in one.name for one in made.candidates), "others than TP 1 have no neighbours"
    assert made.race == {"isl": 8192, "osl": 1024, "conc": (32,)}
    assert "stated defaults" in made.costs.source and made.gpus == 8
    assert made.rules.candidates + made.left_out == tuple(one.name for one in made.candidates)
    assert sum(one.minutes for one in made.steps) <= 12 * 60 + 1e-6


def test_left_out_of_the_series(layout: Layout) -> None:
    made = make(layout, **{**DEFAULTS, "against": "all"})
    assert made.candidates[0].name.startswith("without:") and made.variant((made.candidates[0].name,)) == made.candidates[0].name
    assert made.variant(()) == "all"


def test_parallelism_is_a_campaign_of_its_own(layout: Layout) -> None:
    made = make(layout, **{**DEFAULTS, "spaces": ("parallelism",), "only": ("parallel",)})
    assert made.rules.lanes == 1 and made.served(("tensor-parallel-size=8",)).gpus == 8
    assert {"tensor-parallel-size=2", "data-parallel-size=2"} <= made.rules.resized, "pairs compare equal hardware"
    assert not make(layout, **DEFAULTS).rules.resized


def test_it_is_read_back_as_it_was_written(layout: Layout) -> None:
    made = make(layout, **DEFAULTS)
    where = planned.folder(layout, "day")
    planned.write(where, made)
    again = planned.read(where)
    assert again.rules == made.rules and again.candidates == made.candidates and again.steps == made.steps and again.costs == made.costs
    assert again.settings() == made.settings() and again.served(()) == made.served(())
    (where / planned.FILE).write_text("{}")
    with pytest.raises(BadInput, match="not a campaign"):
        planned.read(where)


def test_two_values_of_one_flag_are_rivals(layout: Layout) -> None:
    rivals = make(layout, **{**DEFAULTS, "hours": 100.0}).rules.rivals
    assert "max-num-seqs=256" in rivals["max-num-seqs=128"] and not rivals["only:moe-pad-once"]
    assert "attention-backend=TRITON_ATTN" in rivals["profile:stage2-aiter-fa"], "a profile that says the same key"


def test_what_a_constraint_forbids_together_are_rivals(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[knobs]]\nkey = "server.max-num-seqs"\nvalues = [64, 512]\nwhy = "w"\n'
                    '[[knobs]]\nkey = "server.max-num-batched-tokens"\nvalues = [128]\nwhy = "w"\n'
                    '[[constraints]]\nrequire = "server.max-num-batched-tokens >= server.max-num-seqs"\nwhy = "w"\n')
    rivals = make(layout, **{**DEFAULTS, "spaces": (str(path),), "only": ("max-num",), "hours": 30.0}).rules.rivals
    assert rivals["max-num-batched-tokens=128"] == {"max-num-seqs=512"} and "max-num-batched-tokens=128" not in rivals["max-num-seqs=64"]


def test_a_start_may_be_typed(layout: Layout) -> None:
    assert make(layout, **{**DEFAULTS, "start": 3.5}).rules.start == 3.5


def test_too_few_hours_name_how_many_do(layout: Layout) -> None:
    with pytest.raises(BadInput, match="--hours 0.5: not one candidate fits; the least is") as caught:
        make(layout, **{**DEFAULTS, "hours": 0.5})
    found = re.fullmatch(r"--hours ([\d.]+)", caught.value.remedy)
    assert found is not None
    assert make(layout, **{**DEFAULTS, "hours": float(found[1])}).rules.candidates


@pytest.mark.parametrize(("changes", "told"), [
    ({"metric": "speed"}, "--metric speed is none of a server's, expected one of"),
    ({"only": ("nothing",)}, "--only nothing: no candidate's name has that in it"),
    ({"profile": "seed", "gpus": 4}, "--gpus 4: a server of profile seed takes 8"),
    ({"spaces": ("x",)}, "no space 'x'"),
    ({"ray": "auto", "gpus": None}, "--ray: this machine does not see how many GPUs"),
    ({"load": {"isl": 8}}, "--isl and --osl go together"),
])
def test_what_cannot_be_meant(layout: Layout, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        make(layout, **{**DEFAULTS, **changes})
    assert caught.value.remedy


def test_no_campaign_of_that_name(layout: Layout) -> None:
    with pytest.raises(BadInput, match="no campaign 'x'"):
        planned.read(planned.folder(layout, "x"))
    with pytest.raises(BadInput, match="expected letters"):
        planned.folder(layout, "../x")
    assert planned.names(layout) == []
