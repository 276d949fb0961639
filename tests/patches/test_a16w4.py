"""aiter/a16w4-two-stages and aiter/a16w4-waves: the gfx950 code of GPT-OSS's decode shapes with each patch and without.

The kernel is compiled, not run: what is asserted are facts of the machine code, not times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
triton = pytest.importorskip("triton", reason="NOT TESTED: needs triton (`pip install -e .[kernels]`)")

pytestmark = [pytest.mark.aiter, pytest.mark.slow]

HOST = "aiter/ops/triton/moe/moe_op_gemm_a16w4.py"
SWIZZLED = "CDNA4_SCALE"
EXPERTS, TOP_K = 128, 4

Config = dict[str, Any]
Facts = dict[str, float]


def routing(tokens: int) -> SimpleNamespace:
    """What ``get_kernel_config`` asks of AITER's RoutingData: rows per block, and blocks in the grid."""
    block_m = max(16, min(triton.next_power_of_2(tokens * TOP_K // EXPERTS), 128))

    def n_blocks(rows: int, block: int) -> int:
        return rows if rows <= EXPERTS else triton.cdiv(rows - EXPERTS + 1, block) + EXPERTS - 1

    return SimpleNamespace(block_m=block_m, n_blocks=n_blocks)


class Host:
    """AITER's launcher from one source text."""

    def __init__(self, run_source: Callable[..., ModuleType], source: str) -> None:
        self.module = run_source(source, MagicMock(name="aiter"), ("aiter",))

    def config(self, tokens: int, n: int, k: int, *, swizzle: str | None, gate_up: bool) -> Config:
        """The configuration that the launcher itself picks: read from the launch of a kernel that records it."""
        launched: dict[str, Any] = {}

        class Kernel:
            def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
                return lambda *args, **named: launched.update(named, args=args)

        self.module._moe_gemm_a16w4 = Kernel()
        self.module.allocate_output = lambda *_: (MagicMock(), None)
        self.module.should_upcast_indices = lambda *_: False
        data = routing(tokens)
        data.n_expts_act, data.expt_data = TOP_K, None
        x, w, indices = MagicMock(), MagicMock(), MagicMock()
        x.shape, w.shape, w.stride.return_value, indices.shape = (tokens, k), (EXPERTS, k // 2, n), 1, (tokens * TOP_K,)
        self.module.moe_gemm_a16w4(
            x, w, None, MagicMock(), routing_data=data, gather_indx=indices, swizzle_mx_scale=swizzle, apply_swiglu=gate_up
        )
        block_m, block_n, block_k, group_m = launched.pop("args")[-4:]
        config = {name.lower(): value for name, value in launched.items()}
        config |= {"block_m": block_m, "block_n": block_n, "block_k": block_k, "group_m": group_m}
        return config | {"n": n, "k": k, "swizzle": swizzle, "gate_up": gate_up}


# (tokens, columns, k, first GEMM): TP1 and TP8, padded to 256 and as GPT-OSS is.
DECODE = [
    (1, 6144, 3072, True),
    (1, 3072, 3072, False),
    (16, 6144, 3072, True),
    (16, 3072, 3072, False),
    (1, 1024, 3072, True),
    (1, 3072, 512, False),
    (16, 1024, 3072, True),
    (1, 5760, 2880, True),
    (1, 2880, 2880, False),
    (16, 5760, 2880, True),
    (1, 720, 2880, True),
    (16, 720, 2880, True),
]
PREFILL = [(1024, 6144, 3072, True), (1024, 1024, 3072, True), (2048, 6144, 3072, True), (8192, 3072, 3072, False)]


def configs(host: Host, shapes: list[tuple[int, int, int, bool]]) -> list[Config]:
    return [
        host.config(tokens, n, k, swizzle=swizzle, gate_up=gate_up)
        for tokens, n, k, gate_up in shapes
        for swizzle in (SWIZZLED, None)
    ]


@pytest.fixture(scope="module")
def compile_all(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, list[Config]], list[Facts]]:
    """Compiles configurations in a process of its own; its cache lives as long as this module's tests."""
    cache = tmp_path_factory.mktemp("triton")

    def compile_(tree: Path, requests: list[Config]) -> list[Facts]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "AMDGCN_"))}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("compile_a16w4.py")), str(tree)],
            input=json.dumps(requests),
            env=env | {"TRITON_CACHE_DIR": str(cache)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return list(json.loads(done.stdout))

    return compile_


def test_two_stages(patched: Any, run_source: Any, compile_all: Any) -> None:
    """Each decode tile loads ahead: MFMAs stand between a load and its wait, two barriers are left of six, nothing spills."""
    patch = patched("aiter/a16w4-two-stages")
    after, before = (configs(Host(run_source, side(HOST)), DECODE) for side in (patch.after, patch.before))
    assert {config["num_stages"] for config in after} == {2} and {config["num_stages"] for config in before} == {1}
    unpatched, ours = compile_all(patch.tree, before), compile_all(patch.tree, after)
    for config, old, new in zip(after, unpatched, ours, strict=True):
        assert (old["barrier"], new["barrier"]) == (6, 2), (config, old, new)
        assert new["spills"] == new["scratch"] == 0, (config, new)
        assert new["shared"] <= 65536 and new["vgpr"] <= 168, (config, new)  # three waves per SIMD at least
        # The one exception, which the patch names: a K tail with swizzled scales on the widest tile.
        exception = (config["block_n"], config["swizzle"], config["k"]) == (128, SWIZZLED, 2880)
        least = 0 if exception else new["mfma"] // 2
        assert old["mfma_before_wait"] == 0 and new["mfma_before_wait"] >= least, (config, old, new)


def test_larger_tiles_keep_one_stage(patched: Any, run_source: Any, compile_all: Any) -> None:
    """The reason for the condition: with two stages the tiles of 64 and 128 rows spill, or spill more."""
    patch = patched("aiter/a16w4-two-stages")
    chosen = configs(Host(run_source, patch.after(HOST)), PREFILL)
    assert {config["block_m"] for config in chosen} == {32, 64, 128}
    assert {config["num_stages"] for config in chosen} == {1}
    tall = [config for config in chosen if config["block_m"] >= 64]
    one, two = (compile_all(patch.tree, [config | {"num_stages": stages} for config in tall]) for stages in (1, 2))
    assert all(new["spills"] > old["spills"] for old, new in zip(one, two, strict=True)), (one, two)


def test_waves(patched: Any, run_source: Any, compile_all: Any) -> None:
    """On narrow tiles no wave does more MFMAs than with four waves, and the work-group moves less through LDS."""
    patch = patched("aiter/a16w4-waves")
    after, before = (configs(Host(run_source, side(HOST)), DECODE) for side in (patch.after, patch.before))
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old["num_warps"] != new["num_warps"]]
    narrow = {(new["block_n"], new["swizzle"]) for _, new in pairs}
    assert narrow == {(32, SWIZZLED), (32, None), (64, SWIZZLED)}
    assert {(old["num_warps"], new["num_warps"]) for old, new in pairs} == {(4, 2)}
    unpatched = compile_all(patch.tree, [old for old, _ in pairs])
    ours = compile_all(patch.tree, [new for _, new in pairs])
    for (_, config), old, new in zip(pairs, unpatched, ours, strict=True):
        assert new["repeated"] <= old["repeated"] / 2 and new["mfma"] <= old["mfma"], (config, old, new)
        assert new["lds_bytes"] < 0.65 * old["lds_bytes"], (config, old, new)
        assert new["spills"] == new["scratch"] == 0, (config, new)


def test_wide_tiles_keep_four_waves(patched: Any, run_source: Any, compile_all: Any) -> None:
    """Where four waves repeat nothing they stay, and there is nothing to gain: 128 columns, and 64 without swizzle."""
    patch = patched("aiter/a16w4-waves")
    kept = [c for c in configs(Host(run_source, patch.after(HOST)), DECODE) if c["num_warps"] == 4]
    assert {(config["block_n"], config["swizzle"]) for config in kept} == {(128, SWIZZLED), (128, None), (64, None)}
    assert {new["repeated"] for new in compile_all(patch.tree, kept)} == {1}
