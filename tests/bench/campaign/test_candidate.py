"""Candidates and arms: what excludes what, what an arm is served with, which variant it is of, and the proposal as a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.campaign import candidate, finalist, space
from tunefork.bench.campaign.candidate import Candidate
from tunefork.bench.profiles import profile

SEQS = Candidate("s", "flag", "w", (("server.max-num-seqs", 64),))
MODE = Candidate("m", "flag", "w", (("server.compilation-config.cudagraph_mode", "FULL"),))
OURS = Candidate("o", "override", "w", ((candidate.OVERRIDES, "moe_a16w4"),))
PLAN = Candidate("c", "override", "w", ((candidate.OVERRIDES, "capture_plan"),))


def test_an_arm_is_served_with_all_its_members() -> None:
    base = profile.load("stage2")
    made = candidate.served(base, [SEQS, MODE, OURS, PLAN])
    assert made.server["max-num-seqs"] == 64 and made.server["compilation-config"]["cudagraph_mode"] == "FULL"
    assert made.environment["TUNEFORK_OVERRIDES"] == "moe_a16w4,capture_plan", "overrides add up"
    assert base == profile.load("stage2") and base.server["compilation-config"]["cudagraph_mode"] != "FULL", "the base stays as it is"


def test_a_removed_key_is_gone() -> None:
    assert "block-size" not in candidate.served(profile.load("stage2"), [Candidate("x", "flag", "w", (("server.block-size", None),))]).server


def test_what_touches_the_same_excludes_each_other() -> None:
    other = Candidate("t", "flag", "w", (("server.max-num-seqs", 128),))
    assert candidate.exclusive(SEQS, other) and not candidate.exclusive(SEQS, MODE) and not candidate.exclusive(OURS, PLAN)
    one, two = candidate.patches(["p", "q"], "base")
    assert not candidate.exclusive(one, two) and candidate.exclusive(one, one)


@pytest.mark.parametrize(("against", "names", "variant"), [
    ("base", [], "base"), ("base", ["p"], "only:p"), ("base", ["q", "p"], "only:p,q"), ("all", [], "all"), ("all", ["q"], "without:q")])
def test_variants(against: str, names: list[str], variant: str) -> None:
    known = {one.patch: one for one in candidate.patches(["p", "q"], against)}
    assert candidate.variant(against, [SEQS, *(known[name] for name in names)]) == variant


def test_against_is_base_or_all() -> None:
    with pytest.raises(BadInput, match="--against x"):
        candidate.patches(["p"], "x")


def test_the_profiles_own_value_is_no_candidate() -> None:
    names = [one.name for one in candidate.flags(space.load("memory", "scheduling"), profile.load("stage2"))]
    assert "block-size=16" in names and "block-size=64" not in names and "async-scheduling=false" in names


def test_the_same_change_counts_once_and_impossible_ones_say_why() -> None:
    base = profile.load("stage2")
    knobs = space.load("attention", "parallelism")
    good, bad = candidate.possible([*candidate.derived(base), *candidate.flags(knobs, base)], knobs, base, 4)
    told = {one.name: one.reason for one in bad}
    assert told["attention-backend=ROCM_AITER_FA"] == "the same as profile:stage2-aiter-fa"
    assert told["tensor-parallel-size=8"] == "it takes 8 GPUs, the campaign has 4"
    assert told["enable-expert-parallel=true"].startswith("gpus 1 >= 2 does not hold")
    assert {"profile:stage2-shortest", "tensor-parallel-size=4"} <= {one.name for one in good}


def test_the_proposal_is_a_profile(desk: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    made = replace(desk.plan_of(), profile="stage2", candidates=(SEQS, MODE, *candidate.patches(["moe-pad-once"], "base")), race={"isl": 8192, "osl": 1024, "conc": [4]})
    arm = ("m", "only:moe-pad-once", "s")
    loaded = profile.load(str(finalist.write(tmp_path, made, arm)))
    wanted = candidate.served(profile.load("stage2"), [SEQS, MODE])
    assert (loaded.server, loaded.environment, loaded.scenarios, loaded.gates) == (wanted.server, wanted.environment, wanted.scenarios, "stage2")
    assert "--variant only:moe-pad-once" in loaded.path.read_text()
