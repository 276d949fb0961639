"""Collect, check, apply: with a stand-in for vLLM, and overrides of the test's own."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from vllm_overrides import plugin, registry
from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import Change, apply_named


@dataclass
class Counting:
    """An override that changes something the first time."""

    name: str
    target: str
    applied: list[int] = field(default_factory=list)

    def targets(self) -> Sequence[str]:
        return (self.target,)

    def apply(self) -> Sequence[Change]:
        self.applied.append(1)
        return (Change(self.target, "theirs", "ours"),) if len(self.applied) == 1 else ()


@pytest.fixture
def two(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Counting]:
    """Two registered overrides, `first` and `second`, of different targets."""
    made = {"first": Counting("first", "vllm.a"), "second": Counting("second", "vllm.b")}
    for name, one in made.items():
        module = ModuleType(f"stub_{name}")
        module.override = lambda environ, one=one: one  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(registry.OVERRIDES, name, module.__name__)
    return made


def test_changes_are_logged_once(two: dict[str, Counting], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        apply_named("second, first,second", {})
    assert [record.getMessage() for record in caplog.records] == ["second: vllm.b: theirs -> ours", "first: vllm.a: theirs -> ours"]
    assert {record.name for record in caplog.records} == {"vllm.tunefork_overrides"}
    assert len(two["first"].applied) == 2


def test_only_what_is_named_is_applied(two: dict[str, Counting]) -> None:
    apply_named("first", {})
    assert (len(two["first"].applied), len(two["second"].applied)) == (1, 0)


@pytest.mark.parametrize("asked", ["frist", "first,frist"])
def test_an_unknown_name(asked: str, two: dict[str, Counting]) -> None:
    with pytest.raises(OverrideError, match="'frist', which is no override") as caught:
        apply_named(asked, {})
    assert caught.value.remedy == "one or more of capture_plan, decode_step, guards, moe_a16w4, random_mxfp4, first, second"
    assert not two["first"].applied


def test_no_name_at_all(two: dict[str, Counting]) -> None:
    with pytest.raises(OverrideError, match="names no override"):
        apply_named(" , ", {})


def test_two_of_one_target(two: dict[str, Counting]) -> None:
    two["second"].target = "vllm.a"
    with pytest.raises(OverrideError, match=r"first and second both replace vllm\.a") as caught:
        apply_named("first,second", {})
    assert "first or second" in str(caught.value)
    assert not two["first"].applied and not two["second"].applied


@pytest.mark.parametrize("version", ["0.29.1", "0.33.01", "0.30.0", "0.33.0rc1", "dev"])
def test_another_vllm_is_refused_unless_told_otherwise(
    version: str, two: dict[str, Counting], vllm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    vllm.vllm.__version__ = version
    with pytest.raises(OverrideError, match=f"tested with vLLM 0.33.0, this is {version}") as caught:
        apply_named("first", {})
    apply_named("first", {caught.value.remedy.split("=")[0]: "1"})
    assert len(two["first"].applied) == 1
    assert f"applied to {version} as asked" in caplog.text


@pytest.mark.parametrize("version", ["0.33.0", "0.33.0+p557076fdd583.cpu", "0.33.0+rocm702"])
def test_local_versions_are_the_same_release(version: str, two: dict[str, Counting], vllm: Any) -> None:
    vllm.vllm.__version__ = version
    apply_named("first", {})
    assert len(two["first"].applied) == 1


@pytest.mark.parametrize("value", ["", "  "])
def test_unset_it_imports_nothing(value: str) -> None:
    """In a process of its own: neither vLLM nor the rest of this package."""
    code = (
        f"import os, sys; os.environ['TUNEFORK_OVERRIDES'] = {value!r}\n"
        "from vllm_overrides.plugin import register; before = set(sys.modules); register()\n"
        "print(sorted(name for name in set(sys.modules) - before), sorted(name for name in sys.modules if name.startswith('vllm')))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] ['vllm_overrides', 'vllm_overrides.plugin']\n"


def test_the_entry_point_applies_and_raises(two: dict[str, Counting], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_OVERRIDES", "first")
    plugin.register()
    assert two["first"].applied == [1]
    monkeypatch.setenv("TUNEFORK_OVERRIDES", "nothing")
    with pytest.raises(OverrideError):
        plugin.register()
