"""Why the AITER series has no guard for expert ids >= E (aiter #4530): AITER's top-k gives none with GPT-OSS-120B's 128 experts.

Its kernel is executed as gfx950 code on rows as graph padding leaves them. Since upstream's f88f5bab40fd28933c47866113a39f0d9db36025 (in
v0.1.20) that holds for expert counts that are no multiple of 128, too; on v0.1.19 these rows gave id 127 of 32 experts.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from studies.a16w4.tree import extract

pytest.importorskip("triton", reason="NOT TESTED: needs torch and triton (`pip install -e .[kernels]`)")

pytestmark = [pytest.mark.aiter, pytest.mark.slow]

PROGRAM = """
import sys, torch
from pathlib import Path
from studies.a16w4.tree import load
from tunefork.kernels.amdgcn.driver import on_gfx950

with on_gfx950():
    topk = load(Path(sys.argv[1]), "moe.moe_routing.topk").topk
    for experts in (128, 32):
        logits = torch.randn(8, experts, generator=torch.Generator().manual_seed(0)).bfloat16()
        logits[-1] = -float("inf")
        logits[-1, :3] = torch.tensor([float("inf"), float("nan"), -float("nan")])
        logits[-2] = -float("nan")
        _, chosen, _ = topk(logits, 4, apply_softmax=True, HIST_BLOCK_M=32)
        print(int(chosen[:-2].int().max()), int(chosen.int().max()))
"""


def test_ids_stay_below_the_experts(patched: object, tmp_path: Path) -> None:
    """Hostile rows: in range at 128 experts, and at 32, where v0.1.19's kernel named one that does not exist."""
    patch = patched("aiter/a16w4-two-stages")  # type: ignore[operator] # any patch: it names the checkout and the pin
    tree = extract(patch.tree, patch.pin(), tmp_path)
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tree)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (good, worst), (few, beyond) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert good < 128 and worst < 128
    assert few < 32 and beyond < 32
