"""Whole Triton kernels, executed as gfx950 machine code, against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from tunefork.kernels.amdgcn.driver import on_gfx950

FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


@triton.jit
def matmul_kernel(
    a, b, c, depth, a_row, b_row, c_row, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    ks = tl.arange(0, DEPTH)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(0, depth, DEPTH):
        left = tl.load(a + rows[:, None] * a_row + (k + ks)[None, :])
        right = tl.load(b + (k + ks)[:, None] * b_row + columns[None, :])
        total = tl.dot(left, right, total)
    tl.store(c + rows[:, None] * c_row + columns[None, :], total.to(c.dtype.element_ty))


@triton.jit
def scaled_matmul_kernel(
    a,
    a_scale,
    b,
    b_scale,
    c,
    depth,
    width,
    A_FORMAT: tl.constexpr,
    A_PACK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    packed, blocks = tl.arange(0, DEPTH // 2), tl.arange(0, DEPTH // 32)
    left_k = tl.arange(0, DEPTH // A_PACK)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(0, depth, DEPTH):
        x = tl.load(a + rows[:, None] * (depth // A_PACK) + (k // A_PACK + left_k)[None, :])
        w = tl.load(b + columns[None, :] * (depth // 2) + (k // 2 + packed)[:, None])
        s = tl.load(b_scale + columns[:, None] * (depth // 32) + (k // 32 + blocks)[None, :])
        if A_FORMAT == "bf16":
            total = tl.dot_scaled(x, None, "bf16", w, s, "e2m1", total)
        else:
            xs = tl.load(a_scale + rows[:, None] * (depth // 32) + (k // 32 + blocks)[None, :])
            total = tl.dot_scaled(x, xs, A_FORMAT, w, s, "e2m1", total)
    tl.store(c + rows[:, None] * width + columns[None, :], total)


@triton.jit
def softmax_kernel(x, y, n, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + i, mask=i < n, other=-float("inf")).to(tl.float32)
    e = tl.exp(v - tl.max(v, 0))
    tl.store(y + row * n + i, (e / tl.sum(e, 0)).to(tl.bfloat16), mask=i < n)


@triton.jit
def rmsnorm_kernel(x, w, y, n, eps, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + i, mask=i < n, other=0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(v * v, 0) / n + eps)
    g = tl.load(w + i, mask=i < n).to(tl.float32)
    tl.store(y + row * n + i, (v * scale * g).to(tl.bfloat16), mask=i < n)


@triton.jit
def silu_quantise_kernel(x, y, s, n, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    a = tl.load(x + row * 2 * n + i, mask=i < n, other=0).to(tl.float32)
    b = tl.load(x + row * 2 * n + n + i, mask=i < n, other=0).to(tl.float32)
    o = a * tl.sigmoid(a) * b
    scale = tl.max(tl.abs(o), 0) / 448.0
    tl.store(s + row, scale)
    tl.store(y + row * n + i, (o / scale).to(tl.float8e4nv), mask=i < n)


@triton.jit
def histogram_kernel(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i, mask=i < n, other=0)
    tl.atomic_add(y + v, 1, mask=i < n)


@triton.jit
def block_histogram_kernel(x, y, BLOCK: tl.constexpr, BINS: tl.constexpr):
    counts = tl.histogram(tl.load(x + tl.arange(0, BLOCK)), BINS)
    tl.store(y + tl.arange(0, BINS), counts)


@triton.jit
def ticket_kernel(counter, order, total, x, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    part = tl.sum(tl.load(x + tl.program_id(0) * BLOCK + i), 0)
    tl.atomic_add(total, part)
    tl.store(order + tl.program_id(0), tl.atomic_add(counter, 1))


@triton.jit
def sort_kernel(x, y, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.sort(tl.load(x + i)))


@triton.jit
def cumsum_kernel(x, y, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.cumsum(tl.load(x + i), 0))


@triton.jit
def attention_kernel(
    q, k, v, o, length, scale, ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr
):
    rows, ds = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    query = tl.load(q + rows[:, None] * WIDTH + ds[None, :])
    most = tl.full((ROWS,), -float("inf"), tl.float32)
    norm = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for start in range(0, length, COLUMNS):
        cs = start + tl.arange(0, COLUMNS)
        s = tl.dot(query, tl.load(k + cs[None, :] * WIDTH + ds[:, None])) * scale
        s = tl.where(cs[None, :] <= rows[:, None], s, -1e30)
        above = tl.maximum(most, tl.max(s, 1))
        p = tl.exp2(s - above[:, None])
        decay = tl.exp2(most - above)
        norm, most = norm * decay + tl.sum(p, 1), above
        total = total * decay[:, None]
        total = tl.dot(p.to(tl.bfloat16), tl.load(v + cs[:, None] * WIDTH + ds[None, :]), total)
    tl.store(o + rows[:, None] * WIDTH + ds[None, :], (total / norm[:, None]).to(tl.bfloat16))


@triton.jit
def integer_kernel(a, b, o, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x, y = tl.load(a + i, mask=i < n, other=1), tl.load(b + i, mask=i < n, other=1)
    tl.store(o + i, x // y, mask=i < n)
    tl.store(o + n + i, x % y, mask=i < n)
    tl.store(o + 2 * n + i, (x.to(tl.int64) * y.to(tl.int64) >> 7).to(tl.int32), mask=i < n)


@triton.jit
def diverging_kernel(x, y, trips):
    program = tl.program_id(0)
    value = tl.load(x + program)
    for _ in range(tl.load(trips + program)):
        value = value * 0.5 + 1.0
    tl.store(y + program, value)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Norm of the difference over the norm of what was wanted; NaN anywhere gives NaN."""
    difference = found.double() - wanted.double()
    return float(difference.norm() / wanted.double().norm())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unpack_fp4(packed: torch.Tensor) -> torch.Tensor:
    """(..., K/2) uint8, low nibble first, to (..., K) f32."""
    return torch.stack((FP4[(packed & 15).long()], FP4[(packed >> 4).long()]), -1).flatten(-2)


def unpack_scale(scale: torch.Tensor) -> torch.Tensor:
    return torch.exp2(scale.double() - 127).repeat_interleave(32, -1)


def matmul(tile: int, warps: int = 4, tiles: int = 1, dtype: torch.dtype = torch.bfloat16, **options: Any) -> float:
    rows, columns, depth = tile * tiles, tile * tiles + tile, 256
    a = torch.randn(rows, depth, generator=generator()).to(dtype)
    b = torch.randn(depth, columns, generator=generator(1)).to(dtype)
    c = torch.full((rows, columns), float("nan"), dtype=torch.float32)
    grid = (rows // tile, columns // tile)
    matmul_kernel[grid](
        a, b, c, depth, depth, columns, columns, ROWS=tile, COLUMNS=tile, DEPTH=64, num_warps=warps, **options
    )
    return relative(c, a.double() @ b.double())


SMALL, LARGE = [(16, 1, 2), (32, 4, 2)], [(64, 4, 1), (128, 8, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tile", "warps", "tiles", "lockstep"), [(*s, True) for s in SMALL + LARGE] + [(*s, False) for s in SMALL]
)
def test_matmul_tiles(tile: int, warps: int, tiles: int, lockstep: bool) -> None:
    """Waves together, and one by one in random order between barriers (slow, so for small tiles)."""
    with on_gfx950(lockstep=lockstep, seed=3):
        assert matmul(tile, warps, tiles) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float8_e4m3fn, torch.float8_e5m2])
def test_matmul_element_types(dtype: torch.dtype) -> None:
    """Each element type has its own matrix instruction; f32 goes through bf16 pieces or f32 instructions."""
    with on_gfx950():
        assert matmul(32, dtype=dtype) < (1e-2 if dtype == torch.float32 else 1e-6)


@pytest.mark.parametrize("nonkdim", [16, 32])
def test_matmul_instruction_shapes(nonkdim: int) -> None:
    with on_gfx950() as device:
        assert matmul(64, matrix_instr_nonkdim=nonkdim) < 1e-6
    used = [name for name in device.launches[0].launch.wave_instructions if "mfma" in name]
    assert used and all(f"_{nonkdim}x{nonkdim}x" in name for name in used)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_matmul_pipelined(stages: int) -> None:
    with on_gfx950():
        assert matmul(64, num_stages=stages) < 1e-6


@pytest.mark.parametrize("stages", [2, 3])
def test_matmul_with_direct_to_lds_loads(stages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_HIP_USE_ASYNC_COPY", "1")
    matmul_kernel.device_caches.clear()
    try:
        with on_gfx950() as device:
            assert matmul(64, num_stages=stages) < 1e-6
        names = device.launches[0].launch.wave_instructions
        assert any("_lds_" in name or name.startswith("buffer_load") for name in names)
    finally:
        matmul_kernel.device_caches.clear()


@pytest.mark.slow
@pytest.mark.parametrize("tile", [(16, 32), (32, 64), (64, 128)])
def test_bf16_by_mxfp4(tile: tuple[int, int]) -> None:
    rows, columns, depth = tile[0] * 2, tile[1] * 2, 512
    a = torch.randn(rows, depth, generator=generator()).bfloat16()
    w = torch.randint(0, 256, (columns, depth // 2), generator=generator(1), dtype=torch.uint8)
    s = torch.randint(118, 136, (columns, depth // 32), generator=generator(2), dtype=torch.uint8)
    c = torch.full((rows, columns), float("nan"))
    with on_gfx950():
        scaled_matmul_kernel[(2, 2)](
            a, None, w, s, c, depth, columns, A_FORMAT="bf16", A_PACK=1, ROWS=tile[0], COLUMNS=tile[1], DEPTH=128
        )
    assert relative(c, a.double() @ (unpack_fp4(w) * unpack_scale(s)).T) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("fmt", ["e2m1", "e4m3", "e5m2"])
@pytest.mark.parametrize("nonkdim", [16, 32])
def test_scaled_matrix_instruction(fmt: str, nonkdim: int) -> None:
    rows, columns, depth = 32, 64, 768
    dtype = {"e2m1": torch.uint8, "e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}[fmt]
    if fmt == "e2m1":
        a = torch.randint(0, 256, (rows, depth // 2), generator=generator(), dtype=torch.uint8)
        values = unpack_fp4(a)
    else:
        a = torch.randn(rows, depth, generator=generator()).to(dtype)
        values = a.float()
    w = torch.randint(0, 256, (columns, depth // 2), generator=generator(1), dtype=torch.uint8)
    scale_a = torch.randint(118, 136, (rows, depth // 32), generator=generator(2), dtype=torch.uint8)
    scale_w = torch.randint(118, 136, (columns, depth // 32), generator=generator(3), dtype=torch.uint8)
    c = torch.full((rows, columns), float("nan"))
    with on_gfx950() as device:
        scaled_matmul_kernel[(1, 1)](
            a, scale_a, w, scale_w, c, depth, columns,
            A_FORMAT=fmt, A_PACK=2 if fmt == "e2m1" else 1, ROWS=rows, COLUMNS=columns, DEPTH=256,
            matrix_instr_nonkdim=nonkdim,
        )  # fmt: skip
    assert relative(c, (values * unpack_scale(scale_a)) @ (unpack_fp4(w) * unpack_scale(scale_w)).T) < 1e-6
    assert any("mfma_scale" in name for name in device.launches[0].launch.wave_instructions)


@pytest.mark.parametrize("n", [64, 1000])
def test_softmax(n: int) -> None:
    x = torch.randn(3, n, generator=generator()).bfloat16()
    y = torch.full((3, n), float("nan"), dtype=torch.bfloat16)
    with on_gfx950():
        softmax_kernel[(3,)](x, y, n, BLOCK=triton.next_power_of_2(n))
    assert relative(y, torch.softmax(x.double(), -1)) < 3e-3


def test_rmsnorm() -> None:
    n = 2880
    x, w = (torch.randn(shape, generator=generator(seed)).bfloat16() for seed, shape in enumerate([(2, n), (n,)]))
    y = torch.full((2, n), float("nan"), dtype=torch.bfloat16)
    with on_gfx950():
        rmsnorm_kernel[(2,)](x, w, y, n, 1e-5, BLOCK=4096)
    wanted = x.double() * torch.rsqrt(x.double().pow(2).mean(-1, keepdim=True) + 1e-5) * w.double()
    assert relative(y, wanted) < 3e-3


@pytest.mark.slow
def test_fp8_quantisation() -> None:
    n = 1000
    x = torch.randn(2, 2 * n, generator=generator()).bfloat16()
    y, s = torch.zeros(2, n).to(torch.float8_e4m3fn), torch.full((2,), float("nan"))
    with on_gfx950():
        silu_quantise_kernel[(2,)](x, y, s, n, BLOCK=1024)
    a, b = x.float()[:, :n], x.float()[:, n:]
    wanted = a * torch.sigmoid(a) * b
    scale = wanted.abs().amax(-1) / 448
    torch.testing.assert_close(s, scale, rtol=1e-6, atol=0)
    exact = (wanted / scale[:, None]).to(torch.float8_e4m3fn)
    assert (y.view(torch.uint8) == exact.view(torch.uint8)).float().mean() > 0.995


def test_histogram_by_atomics() -> None:
    x = torch.randint(0, 50, (1500,), generator=generator(), dtype=torch.int32)
    y = torch.zeros(64, dtype=torch.int32)
    with on_gfx950():
        histogram_kernel[(3,)](x, y, 1500, BLOCK=512)
    assert torch.equal(y, torch.bincount(x, minlength=64).int())


def test_histogram_in_lds() -> None:
    x = torch.randint(0, 64, (1024,), generator=generator(), dtype=torch.int32)
    y = torch.full((64,), -1, dtype=torch.int32)
    with on_gfx950():
        block_histogram_kernel[(1,)](x, y, BLOCK=1024, BINS=64)
    assert torch.equal(y, torch.bincount(x, minlength=64).int())


def test_atomics_return_the_old_value_and_the_order_is_random() -> None:
    orders = []
    for seed in (0, 1):
        counter, total = torch.zeros(1, dtype=torch.int32), torch.zeros(1)
        order, x = torch.full((40,), -1, dtype=torch.int32), torch.ones(40 * 64)
        with on_gfx950(seed=seed):
            ticket_kernel[(40,)](counter, order, total, x, BLOCK=64)
        assert counter.item() == 40 and total.item() == 40 * 64
        assert sorted(order.tolist()) == list(range(40))
        orders.append(order.tolist())
    assert orders[0] != orders[1] and orders[0] != list(range(40))


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "wanted"), [(sort_kernel, np.sort), (cumsum_kernel, np.cumsum)])
@pytest.mark.parametrize("block", [64, 512])
def test_sort_and_scan(kernel: Any, wanted: Callable[..., Any], block: int) -> None:
    x = torch.randint(-1000, 1000, (2, block), generator=generator(), dtype=torch.int32)
    y = torch.full_like(x, -7777)
    with on_gfx950():
        kernel[(2,)](x, y, BLOCK=block)
    assert np.array_equal(y.numpy(), wanted(x.numpy(), axis=1))


def test_attention() -> None:
    length, width = 256, 64
    q, k, v = (torch.randn(length, width, generator=generator(seed)).bfloat16() for seed in range(3))
    o = torch.full((length, width), float("nan"), dtype=torch.bfloat16)
    scale = width**-0.5 * 1.4426950408889634
    with on_gfx950():
        attention_kernel[(length // 128,)](q, k, v, o, length, scale, ROWS=128, COLUMNS=64, WIDTH=width)
    wanted = torch.nn.functional.scaled_dot_product_attention(
        q.double()[None], k.double()[None], v.double()[None], is_causal=True
    )[0]
    assert relative(o, wanted) < 5e-3


def test_integer_division_and_wide_products() -> None:
    n = 200
    a = torch.randint(-(2**31), 2**31 - 1, (n,), generator=generator(), dtype=torch.int64).int()
    b = torch.randint(1, 5000, (n,), generator=generator(1), dtype=torch.int32) * (-1) ** torch.arange(n)
    o = torch.zeros(3 * n, dtype=torch.int32)
    with on_gfx950():
        integer_kernel[(1,)](a, b.int(), o, n, BLOCK=256)
    quotient = torch.div(a.long(), b.long(), rounding_mode="trunc")
    wide = (a.long() * b.long()) >> 7
    assert torch.equal(o[:n].long(), quotient)
    assert torch.equal(o[n : 2 * n].long(), a.long() - quotient * b.long())
    assert torch.equal(o[2 * n :], wide.int())


def test_work_groups_may_take_different_ways() -> None:
    """Trip counts differ, so that batches split at the branch and join behind the loop."""
    trips = torch.tensor([0, 1, 7, 3, 3, 0, 12, 5], dtype=torch.int32)
    x = torch.arange(8, dtype=torch.float32)
    y = torch.full((8,), float("nan"))
    with on_gfx950():
        diverging_kernel[(8,)](x, y, trips)
    wanted = x.clone()
    for at, count in enumerate(trips.tolist()):
        for _ in range(count):
            wanted[at] = wanted[at] * 0.5 + 1
    assert torch.equal(y, wanted)


def test_bytes_are_counted() -> None:
    """Loaded bytes are what active lanes asked for; distinct bytes are counted on request."""
    n = 1000
    x = torch.randn(3, n, generator=generator()).bfloat16()
    y = torch.empty(3, n, dtype=torch.bfloat16)
    with on_gfx950(track_touched=True) as device:
        softmax_kernel[(3,)](x, y, n, BLOCK=1024)
    source, target = (
        next(item for item in device.launches[0].launch.buffers if item.base == tensor.data_ptr()) for tensor in (x, y)
    )
    assert source.loaded == 3 * n * 2 == source.loaded_unique()
    assert target.stored == 3 * n * 2 and target.loaded == 0


@pytest.mark.parametrize(("rows", "columns", "warps", "share"), [(64, 64, 4, 0), (16, 16, 4, 0.75), (16, 64, 4, 0)])
def test_repeated_matrix_work_is_counted(rows: int, columns: int, warps: int, share: float) -> None:
    """Four waves on one 16 x 16 tile all compute the same product: three of four repeat."""
    a = torch.randn(rows, 128, generator=generator()).bfloat16()
    b = torch.randn(128, columns, generator=generator(1)).bfloat16()
    c = torch.full((rows, columns), float("nan"))
    with on_gfx950() as device:
        matmul_kernel[(1, 1)](
            a, b, c, 128, 128, columns, columns, ROWS=rows, COLUMNS=columns, DEPTH=64, num_warps=warps, matrix_instr_nonkdim=16
        )
    assert relative(c, a.double() @ b.double()) < 1e-6
    audit = device.launches[0].launch.audit
    assert audit.executed > 0 and audit.replicated == share * audit.executed
