"""The native kernels that are executed, each on inputs of GPT-OSS-120B's sizes beside a reference in float32 or in whole numbers.

What a kernel does not write stays NaN or -7 and fails; what it must not read is NaN. A check returns the relative error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch

from tunefork.kernels.amdgcn.executor.launch import Launch
from tunefork.kernels.amdgcn.native.hip_kernel import Argument, HipKernel
from tunefork.kernels.model import GPT_OSS_120B as MODEL

HIDDEN, EXPERTS, TOP_K = MODEL.hidden, MODEL.experts, MODEL.topk
SKINNY, TOPK = "vllm/csrc/rocm/skinny_gemms.cu", "vllm/csrc/moe/topk_softmax_kernels.cu"
NORM, ALIGN = "vllm/csrc/layernorm_kernels.cu", "vllm/csrc/moe/moe_align_sum_kernels.cu"
BF16_STEP = 2.0**-8  # a rounding to bf16, relative


@dataclass
class Run:
    """A text being checked: the kernels that ran out of it, and their launches."""

    text: str
    seed: int = 0
    kernels: list[HipKernel] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)

    def call(self, pattern: str, grid: int, block: tuple[int, int, int], *arguments: Argument, dynamic_lds: int = 0) -> None:
        kernel = HipKernel.matching(self.text, pattern)
        self.launches.append(kernel.run((grid, 1, 1), block, *arguments, dynamic_lds=dynamic_lds, seed=self.seed))
        self.kernels.append(kernel)


@dataclass(frozen=True)
class Case:
    """A native kernel on one input. source: as --compile-only names it.  proves: what depends on it.  tolerance: of the relative error."""

    source: str
    kernel: str
    shape: str
    check: Callable[[Run], float]
    tolerance: float
    proves: str = ""

    @property
    def label(self) -> str:
        return f"{self.kernel} {self.shape}"


def i32(*values: int) -> tuple[tuple[str, float], ...]:
    return tuple(("i", value) for value in values)


def i64(*values: int) -> tuple[tuple[str, float], ...]:
    return tuple(("q", value) for value in values)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(13)


def padded_rows(rows: int, columns: int, stride: int) -> torch.Tensor:
    """(rows, columns) bf16 that is a part of (rows, stride), which is NaN elsewhere."""
    whole = torch.full((rows, stride), float("nan"), dtype=torch.bfloat16)
    whole[:, :columns] = torch.randn(rows, columns, generator=generator()).bfloat16()
    return whole[:, :columns]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest expected value; NaN where anything is."""
    return float((found.float() - expected).abs().max() / expected.abs().max())


def split_k_router(run: Run, rows: int, stride: int) -> float:
    """wvSplitKrc on the router: (rows, 2880) x (128, 2880), bias; its workspaces must be zero again afterwards."""
    tile = max(16, 1 << (rows - 1).bit_length())
    shared = min(tile // 16, 4)
    x, weight = padded_rows(rows, HIDDEN, stride), torch.randn(EXPERTS, HIDDEN, generator=generator()).bfloat16()
    bias, out = torch.randn(EXPERTS, generator=generator()).bfloat16(), torch.full((rows, EXPERTS), float("nan"), dtype=torch.bfloat16)
    parts, counters = torch.zeros(12 * 128 * 1024), torch.zeros(3 * 128 * 1024, dtype=torch.int32)
    run.call(rf"^_Z11wvSplitKrc_I14__hip_bfloat16Li64ELi16ELi4ELi8ELi1ELi{tile}ELi{shared}ELi1ELi1EE", 256, (64, 4, 1),
             *i32(rows, HIDDEN, stride, EXPERTS, EXPERTS, 1), x, weight, bias, parts, counters, out, *i32(256))  # fmt: skip
    return relative(out, x.float() @ weight.float().T + bias.float()) if not counters.any() else float("inf")


def split_k_rows(run: Run, rows: int, stride: int) -> float:
    """wvSplitK on the router at few rows, as on a device of 32 CUs: the same code, an eighth of the work-groups."""
    units = 32
    x, weight = padded_rows(rows, HIDDEN, stride), torch.randn(EXPERTS, HIDDEN, generator=generator()).bfloat16()
    bias, out = torch.randn(EXPERTS, generator=generator()).bfloat16(), torch.full((rows, EXPERTS), float("nan"), dtype=torch.bfloat16)
    run.call(rf"^_Z16wvSplitK_hf_sml_I14__hip_bfloat16Li64ELi1ELi16ELi8ELi4ELi{rows}EE", units, (64, 16, 1),
             *i32(HIDDEN, HIDDEN, stride, EXPERTS, EXPERTS, 1), weight, x, bias, out, *i32(EXPERTS // units, units))  # fmt: skip
    return relative(out, x.float() @ weight.float().T + bias.float())


def gating(run: Run, rows: int, kind: torch.dtype) -> float:
    """topkGating: softmax over 128 experts, the 4 best, renormalised. Ties go to the lower expert."""
    name, per_thread = {torch.float32: ("f", 4), torch.bfloat16: ("14__hip_bfloat16", 8)}[kind]
    logits = torch.randn(rows, EXPERTS, generator=generator()).to(kind)
    logits[0, 5:9] = logits[0].max() + 1  # a tie of the four best
    weights, experts = torch.full((rows, TOP_K), float("nan")), torch.full((rows, TOP_K), -7, dtype=torch.int32)
    origin = torch.full((rows, TOP_K), -7, dtype=torch.int32)
    per_group = 4 * (64 // (EXPERTS // per_thread))
    run.call(rf"topkGatingILi{per_thread}ELi128ELi4ELi16ELi64Ei{name}LNS0_11ScoringFuncE0EEE", -(-rows // per_group), (64, 4, 1), logits, None, weights,
             *i32(rows), experts, origin, *i32(TOP_K, 0, EXPERTS), ("?", 1), None, ("d", 1.0), None)  # fmt: skip
    chosen = torch.sort(logits.float(), dim=1, descending=True, stable=True)
    expected = torch.softmax(chosen.values[:, :TOP_K], dim=1)
    return relative(weights, expected) if torch.equal(experts, chosen.indices[:, :TOP_K].int()) else float("inf")


def norm(run: Run, rows: int, stride: int) -> float:
    """rms_norm at the hidden size, rows of any stride."""
    x, weight = padded_rows(rows, HIDDEN, stride), torch.randn(HIDDEN, generator=generator()).bfloat16()
    out = torch.full((rows, HIDDEN), float("nan"), dtype=torch.bfloat16)
    run.call("rms_norm_kernelIN3c108BFloat16ELi8ELi2ELb1EEE", rows, (HIDDEN // 8, 1, 1), out, x, *i64(stride, 0, 0, 0, 0), weight, *i64(0), ("f", 1e-5),
             *i32(rows, HIDDEN))  # fmt: skip
    return relative(out, x.float() * torch.rsqrt(x.float().square().mean(1, keepdim=True) + 1e-5) * weight.float())


def align(run: Run, tokens: int, block: int) -> float:
    """moe_align_block_size and its sort: token slots by expert, each expert's padded to whole blocks. Whole numbers: 0 or infinity."""
    experts = torch.stack([torch.randperm(EXPERTS, generator=generator())[:TOP_K]] * tokens).int()
    experts[1::2] = (experts[1::2] * 7 + torch.arange(len(experts[1::2]))[:, None]) % EXPERTS
    slots = experts.numel()
    room = slots + EXPERTS * (block - 1)
    order, owners = torch.full((room,), -7, dtype=torch.int32), torch.full((-(-room // block),), -7, dtype=torch.int32)
    total, sums = torch.full((1,), -7, dtype=torch.int32), torch.full((EXPERTS + 1,), -7, dtype=torch.int32)
    run.call("^_ZN4vllm3moe27moe_align_block_size_kernelIiEE", 2, (1024, 1, 1), experts, order, owners, total, None, *i32(EXPERTS, EXPERTS, 64, block),
             *i64(slots), sums, *i32(room, TOP_K), ("?", 0), dynamic_lds=2 * 64 * 4)  # fmt: skip
    run.call("^_ZN4vllm3moe35count_and_sort_expert_tokens_kernelIiEE", -(-slots // 256), (256, 1, 1), experts, order, sums, None, *i64(slots),
             *i32(EXPERTS, room, TOP_K), ("?", 0), None)  # fmt: skip
    counts = torch.bincount(experts.flatten(), minlength=EXPERTS)
    padded = -(-counts // block) * block
    ends = padded.cumsum(0)
    good = int(total) == int(ends[-1])
    for expert, (count, size, end) in enumerate(zip(counts.tolist(), padded.tolist(), ends.tolist(), strict=True)):
        part = order[end - size : end]
        wanted = torch.nonzero(experts.flatten() == expert).flatten().int()
        good = good and torch.equal(part[:count].sort().values, wanted) and bool((part[count:] == slots).all())
        good = good and bool((owners[(end - size) // block : end // block] == expert).all())
    return 0.0 if good else float("inf")


def weighted_sum(run: Run, tokens: int) -> float:
    """moe_sum of 4 experts' rows."""
    x = torch.randn(tokens, TOP_K, HIDDEN, generator=generator()).bfloat16()
    out = torch.full((tokens, HIDDEN), float("nan"), dtype=torch.bfloat16)
    run.call(f"moe_sum_vec_kernelIN3c108BFloat16EiLi{TOP_K}ELb0EEE", 2, (256, 1, 1), out, x, *i64(tokens), *i32(HIDDEN), *i64(TOP_K * HIDDEN, HIDDEN), None,
             None, *i64(0, 0))  # fmt: skip
    return relative(out, x.float().sum(1))


def cases() -> list[Case]:
    """Every case, the cheap ones first."""
    patch, wide = "patches/vllm/wvsplitkrc-strided", HIDDEN + 1216
    return [
        *(Case(NORM, "rms_norm", f"{rows} x {HIDDEN}, stride {stride}", partial(norm, rows=rows, stride=stride), BF16_STEP)
          for rows, stride in ((2, HIDDEN), (3, wide))),
        *(Case(TOPK, "topkGating", f"{rows} x {EXPERTS} {str(kind)[6:]}, top {TOP_K}", partial(gating, rows=rows, kind=kind), 1e-6)
          for rows, kind in ((9, torch.float32), (17, torch.bfloat16))),
        Case(ALIGN, "moe_align_block_size", "37 tokens, blocks of 16", partial(align, tokens=37, block=16), 0.0),
        Case(ALIGN, "moe_sum", f"5 x {TOP_K} x {HIDDEN}", partial(weighted_sum, tokens=5), BF16_STEP),
        *(Case(SKINNY, "wvSplitK", f"{rows} x {HIDDEN} x {EXPERTS}, stride {stride}", partial(split_k_rows, rows=rows, stride=stride), BF16_STEP,
               "patches/vllm/wvsplitk-strided") for rows, stride in ((2, HIDDEN), (3, wide), (4, wide), (5, HIDDEN))),
        *(Case(SKINNY, "wvSplitKrc", f"{rows} x {HIDDEN} x {EXPERTS}, stride {stride}", partial(split_k_router, rows=rows, stride=stride), BF16_STEP, patch)
          for rows, stride in ((16, HIDDEN), (13, wide), (32, wide), (128, HIDDEN), (100, wide))),
    ]  # fmt: skip
