"""Arms that are profiles: each served as its own profile says, records under its name; whatever would not be a comparison of servers is refused."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.ab import arms, profile_arms, trial
from tunefork.bench.ab.experiment import Comparison, Experiment
from tunefork.bench.ab.plan import Slot
from tunefork.bench.run.settings import Settings
from tunefork.cli.bench.ab import ab

A, B = "profile:stage2", "profile:stage2-a16w4-triton"


def planned(a: str, b: str, **settings: Any) -> Experiment:
    fixed = Settings(profile=a.removeprefix("profile:"), **settings).model_dump(mode="json") | {"client": "builtin", "accuracy": False, "kind": "profile"}
    return Experiment("x", "stage2", (Comparison("", a, b),), 2, 1, "total_token_throughput", 0.01, fixed)


def test_each_arm_is_served_as_its_profile_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One variant, two servers; what was typed holds for both; records carry the arm's own profile."""
    served, measured = [], []

    def variant_arm(_layout: Layout, profile: Any, _settings: Settings, variant: str, _say: Any) -> Any:
        @contextmanager
        def opened() -> Any:
            served.append((profile.name, variant, profile.server.get("moe-backend"), profile.server["max-model-len"]))
            yield SimpleNamespace(trial="t", check=lambda: None)

        return opened

    def measure(shared: Any, *_: Any) -> Any:
        measured.append((shared.profile, shared.labels["arm"]))
        return SimpleNamespace(problems=(), status="passed", metrics=None)

    monkeypatch.setattr(trial, "variant_arm", variant_arm)
    monkeypatch.setattr(trial, "measure", measure)
    plan = planned(A, B, isl=64, osl=32, conc=(1,), max_model_len=2048)
    made = arms.trials(Layout(tmp_path, tmp_path), None, tmp_path, plan, plan.comparisons, lambda line: None)  # type: ignore[arg-type] # no record is kept
    for arm, name in (("A", A), ("B", B)):
        made(name, Slot(0, 0, arm, 1), {"arm": arm, "comparison": ""})  # type: ignore[arg-type]
    assert served == [("stage2", "all", None, 2048), ("stage2-a16w4-triton", "all", "aiter_triton_mxfp4_bf16", 2048)]
    assert measured == [("stage2", "A"), ("stage2-a16w4-triton", "B")]


def test_variants_are_no_profiles() -> None:
    assert profile_arms.named("base", "without:compile-sizes") is None
    assert profile_arms.named(A, B) == ("stage2", "stage2-a16w4-triton")


def test_our_arms_of_stage_2_can_be_compared() -> None:
    for name in ("a16w4-triton", "tunefork", "aiter-fa", "no-compile-sizes", "rope-kv", "fp8-moe", "shortest"):
        profile_arms.check(Settings(profile="stage2"), A, f"profile:stage2-{name}")


@pytest.mark.parametrize(
    ("b", "typed", "says"),
    [
        ("profile:seed", {}, "differ in the loads: 8192/1024 c4,32,128 and 1024/1024"),
        ("profile:seed", {"isl": 8192, "osl": 1024, "conc": (4,)}, "differ in the GPUs of a server: 1 and 8"),
        ("profile:smoke", {"isl": 64, "osl": 32, "conc": (1,)}, "differ in the model"),
        ("profile:inferencex-8k1k-tp1", {"conc": (4,)}, "differ in how requests are drawn"),
    ],
)
def test_profiles_that_measure_something_else_are_refused(b: str, typed: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        profile_arms.check(Settings(profile="stage2", **typed), A, b)
    assert says in caught.value.message and "\n" not in caught.value.message and caught.value.remedy


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--a", "base", "--b", B], "expected two profiles or two variants"),
        (["--a", A, "--b", "profile:stage3"], "no profile 'stage3': expected one of"),
        (["--a", A, "--b", B, "--profile", "stage2"], "names both servers: no --profile"),
        (["--a", A, "--b", B, "--each-patch"], "names both servers"),
    ],
)
def test_bad_arms_are_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(tmp_path))
    result = CliRunner().invoke(ab, words)
    assert isinstance(result.exception, BadInput) and says in result.exception.message and result.exception.remedy
    assert not list(tmp_path.iterdir())
