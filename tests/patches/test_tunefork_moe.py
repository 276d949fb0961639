"""aiter/tunefork-moe: the MoE layer that the patch adds is ours in kernels/, and gives fp32's result as gfx950 code from its place in AITER."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.vendor import NAME, PACKAGE, adapted, held, vendored
from tunefork.base.layout import Layout

PROGRAM = """
import importlib, sys, torch
from pathlib import Path
from studies.a16w4.tree import load
from tunefork.kernels.amdgcn.driver import on_gfx950
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

H, I, E, TOPK = 64, 40, 8, 4
generator = torch.Generator().manual_seed(0)
codes = lambda *shape: torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
scales = lambda *shape: torch.randint(118, 124, shape, dtype=torch.uint8, generator=generator)
bias = lambda *shape: torch.randn(*shape, generator=generator).bfloat16()
plain = (codes(E, 2 * I, H // 2), scales(E, 2 * I, -(-H // 32)), bias(E, 2 * I), codes(E, H, I // 2), scales(E, H, -(-I // 32)), bias(E, H))
with on_gfx950() as device:
    load(Path(sys.argv[1]), "moe.tunefork")
    ours = importlib.import_module("aiter.ops.triton.moe.tunefork.moe_a16w4")
    weights = ours.prepare_weights(*plain)
    for tokens in (1, 6):
        x = torch.randn(tokens, H, generator=generator).bfloat16()
        logits = torch.randn(tokens, E, generator=generator)
        expected = fused_moe_reference(x, logits, plain, TOPK)
        y = ours.fused_moe(x, logits, weights, TOPK).float()
        print(float((y - expected).norm() / expected.norm()), ours.__file__)
assert device.launches
"""


def test_the_patch_is_what_kernels_give() -> None:
    """Every file, letter by letter. Where it fails: python -m tools.vendor, then python3 build.py patch lock aiter."""
    layout = Layout.here()
    patch, files = layout.series_dir("aiter") / f"{NAME}.patch", vendored(layout.root / "tunefork/kernels")
    assert held(patch) == files
    assert len(files) > 12 and all(path.startswith(f"{PACKAGE}/") for path in files)
    assert not any("tunefork.kernels" in text or "tunefork.patchset" in text for text in files.values())


def test_an_import_that_is_not_vendored_is_an_error() -> None:
    """Something of ours beside kernels/ would be missing in AITER."""
    known = ["mxfp4.format"]
    assert "aiter.ops.triton.moe.tunefork.mxfp4.format" in adapted("from tunefork.kernels.mxfp4.format import groups\n", "x.py", known)
    for module in ("kernels.moe_a16w4.reference", "bench.ab"):
        with pytest.raises(ValueError, match=r"kernels/x.py imports \S*tunefork\S*, which is not vendored"):
            adapted(f"from tunefork.{module} import a\n", "x.py", known)


@pytest.mark.aiter
@pytest.mark.slow
def test_it_runs_from_its_place_in_aiter(patched: Any) -> None:
    """The layer of the patched tree, executed as gfx950 code; before the patch there is no such module."""
    pytest.importorskip("triton", reason="NOT TESTED: needs torch and triton (`pip install -e .[kernels]`)")
    patch = patched(f"aiter/{NAME}")
    assert not subprocess.run(
        ["git", "-c", f"safe.directory={patch.tree}", "-C", str(patch.tree), "ls-tree", f"{patch.commit}^", f"{PACKAGE}/"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(patch.tree)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for line in done.stdout.splitlines():
        error, place = line.split(maxsplit=1)
        assert float(error) < 8e-3 and Path(place).is_relative_to(patch.tree)
