"""Any kernel: what people write in Triton, compiled for gfx950, executed on tiny inputs and held against torch.

Each is right, or the executor refuses it and names the opcode or the argument; none is wrong in silence. test_executor_kernels.py has
matmuls, softmax, sort, scan, attention and histograms; here are the others.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

from tunefork.kernels.amdgcn.driver import on_gfx950


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@triton.jit
def layer_norm_kernel(x, w, b, y, n, eps, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    v = tl.load(x + tl.program_id(0) * n + i, mask=i < n, other=0.0)
    mean = tl.sum(v, 0) / n
    centred = tl.where(i < n, v - mean, 0.0)
    inverse = 1 / tl.sqrt(tl.sum(centred * centred, 0) / n + eps)
    scaled = centred * inverse * tl.load(w + i, mask=i < n) + tl.load(b + i, mask=i < n)
    tl.store(y + tl.program_id(0) * n + i, scaled, mask=i < n)


def layer_norm() -> None:
    x, w, b = random(5, 200), random(200, seed=1), random(200, seed=2)
    y = torch.empty_like(x)
    layer_norm_kernel[(5,)](x, w, b, y, 200, 1e-5, BLOCK=256)
    torch.testing.assert_close(y, torch.nn.functional.layer_norm(x, (200,), w, b))


@triton.jit
def rope_kernel(x, cos, sin, y, HALF: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, HALF)
    c, s = tl.load(cos + row * HALF + i), tl.load(sin + row * HALF + i)
    first, second = tl.load(x + row * 2 * HALF + i).to(tl.float32), tl.load(x + row * 2 * HALF + HALF + i).to(tl.float32)
    tl.store(y + row * 2 * HALF + i, (first * c - second * s).to(y.dtype.element_ty))
    tl.store(y + row * 2 * HALF + HALF + i, (second * c + first * s).to(y.dtype.element_ty))


def rope() -> None:
    x, angle = random(6, 64, dtype=torch.bfloat16), torch.arange(6)[:, None] / 10000 ** (torch.arange(32) / 32)
    y = torch.empty_like(x)
    rope_kernel[(6,)](x, angle.cos(), angle.sin(), y, HALF=32)
    first, second = x.float().chunk(2, 1)
    wanted = torch.cat((first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()), 1)
    torch.testing.assert_close(y, wanted.bfloat16(), rtol=0.01, atol=0.01)


@triton.jit
def mxfp4_kernel(x, packed, scales, N: tl.constexpr):
    """One block of 32 a row: e8m0 scale, e2m1 values by comparison, two a byte."""
    row, i = tl.program_id(0), tl.arange(0, 32)
    v = tl.load(x + row * 32 + i)
    exponent = tl.floor(tl.log2(tl.max(tl.abs(v), 0))) - 2
    size = tl.abs(v) * tl.exp2(-exponent)
    code = (size > 0.25).to(tl.int32) + (size >= 0.75) + (size > 1.25) + (size >= 1.75) + (size > 2.5) + (size >= 3.5) + (size > 5.0)
    code = tl.where(v < 0, code | 8, code)
    low, high = tl.split(tl.reshape(code, (16, 2)))
    tl.store(packed + row * 16 + tl.arange(0, 16), (low | high << 4).to(tl.uint8))
    tl.store(scales + row, (exponent + 127).to(tl.uint8))


def quantise_mxfp4() -> None:
    x = random(9, 32)
    packed, scales = torch.empty(9, 16, dtype=torch.uint8), torch.empty(9, dtype=torch.uint8)
    mxfp4_kernel[(9,)](x, packed, scales, N=9)
    power = x.abs().amax(1).log2().floor() - 2
    assert torch.equal(scales.float(), power + 127)
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    codes = torch.stack((packed & 15, packed >> 4), -1).flatten(1).long()
    found = values[codes & 7] * torch.where(codes > 7, -1.0, 1.0)
    distance = ((x * 2.0 ** -power[:, None]).clamp(-6, 6) - found).abs()
    nearest = ((x.abs() * 2.0 ** -power[:, None]).clamp(max=6)[..., None] - values).abs().amin(-1)
    torch.testing.assert_close(distance, nearest)


@triton.jit
def fp8_kernel(x, y, scale, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i, mask=i < n) / tl.load(scale)
    tl.store(y + i, tl.clamp(v, -448.0, 448.0).to(tl.float8e4nv), mask=i < n)


def quantise_fp8() -> None:
    x, scale = random(300) * 500, torch.tensor([1.5])
    y = torch.empty(300, dtype=torch.float8_e4m3fn)
    fp8_kernel[(3,)](x, y, scale, 300, BLOCK=128)
    wanted = (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    assert torch.equal(y.view(torch.uint8), wanted.view(torch.uint8))


@triton.jit
def top_k_kernel(x, values, places, n, K: tl.constexpr, BLOCK: tl.constexpr):
    row, i = tl.program_id(0), tl.arange(0, BLOCK)
    left = tl.load(x + row * n + i, mask=i < n, other=-float("inf"))
    for k in range(K):
        best, at = tl.max(left, 0, return_indices=True)
        tl.store(values + row * K + k, best)
        tl.store(places + row * K + k, at)
        left = tl.where(i == at, -float("inf"), left)


def top_k() -> None:
    x = random(4, 100)
    values, places = torch.empty(4, 5), torch.empty(4, 5, dtype=torch.int64)
    top_k_kernel[(4,)](x, values, places, 100, K=5, BLOCK=128)
    wanted = x.topk(5)
    assert torch.equal(values, wanted.values) and torch.equal(places, wanted.indices)


@triton.jit
def gather_kernel(x, index, y, columns, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    at = tl.load(index + tl.program_id(0))
    tl.store(y + tl.program_id(0) * columns + i, tl.load(x + at * columns + i, mask=i < columns), mask=i < columns)


def gather_rows() -> None:
    x, index = random(20, 37, dtype=torch.float16), torch.tensor([3, 19, 0, 3, 7])
    y = torch.empty(5, 37, dtype=torch.float16)
    gather_kernel[(5,)](x, index, y, 37, BLOCK=64)
    assert torch.equal(y, x[index])


@triton.jit
def in_register_gather_kernel(x, index, y, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(y + i, tl.gather(tl.load(x + i), tl.load(index + i), 0))


def gather_in_registers() -> None:
    x, index = random(128), torch.randperm(128, generator=torch.Generator().manual_seed(1)).int()
    y = torch.empty_like(x)
    in_register_gather_kernel[(1,)](x, index, y, N=128)
    assert torch.equal(y, x[index.long()])


@triton.jit
def atomics_kernel(x, sums, most, least, swapped, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + i, mask=i < n, other=0)
    tl.atomic_add(sums + i % 4, v, mask=i < n)
    tl.atomic_max(most + i * 0, v, mask=i < n)
    tl.atomic_min(least + i * 0, v, mask=i < n)
    tl.atomic_cas(swapped + tl.program_id(0), 0, tl.program_id(0) + 1)


def atomics(dtype: torch.dtype) -> Callable[[], None]:
    def check() -> None:
        least_value = -1000 if dtype.is_floating_point else 0  # signed integers on one address: the test of Triton's fault below
        x = torch.randint(least_value, 1000, (300,), generator=torch.Generator().manual_seed(2)).to(dtype)
        sums, most, least, swapped = torch.zeros(4, dtype=dtype), x[:1] * 0 - 2000, x[:1] * 0 + 2000, torch.zeros(3, dtype=torch.int32)
        atomics_kernel[(3,)](x, sums, most, least, swapped, 300, BLOCK=128)
        assert torch.equal(sums, torch.stack([x[at::4].sum() for at in range(4)]).to(dtype))
        assert most.item() == x.max().item() and least.item() == x.min().item() and swapped.tolist() == [1, 2, 3]

    return check


@triton.jit
def int64_kernel(a, b, o, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x, y = tl.load(a + i, mask=i < n, other=1), tl.load(b + i, mask=i < n, other=1)
    tl.store(o + i, x * y, mask=i < n)
    tl.store(o + n + i, x // y, mask=i < n)
    tl.store(o + 2 * n + i, x % y, mask=i < n)
    tl.store(o + 3 * n + i, tl.where(x > y, x >> 3, y << 5) ^ (x & y), mask=i < n)


def int64() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randint(-(2**bits), 2**bits, (60,), generator=generator) for bits in (62, 33))
    b[b == 0] = 7
    o = torch.zeros(4, 60, dtype=torch.int64)
    int64_kernel[(1,)](a, b, o, 60, BLOCK=64)
    quotient = torch.div(a, b, rounding_mode="trunc")
    assert torch.equal(o[0], a * b) and torch.equal(o[1], quotient) and torch.equal(o[2], a - quotient * b)
    assert torch.equal(o[3], torch.where(a > b, a >> 3, b << 5) ^ (a & b))


@triton.jit
def fp64_kernel(a, b, o, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x, y = tl.load(a + i, mask=i < n, other=1.0), tl.load(b + i, mask=i < n, other=1.0)
    tl.store(o + i, x / y, mask=i < n)
    tl.store(o + n + i, x * y + x, mask=i < n)
    tl.store(o + 2 * n + i, tl.sqrt(tl.abs(x)), mask=i < n)
    tl.store(o + 3 * n + i, tl.maximum(x, y) - tl.floor(y), mask=i < n)
    tl.store(o + 4 * n + i, tl.exp(y), mask=i < n)
    tl.store(o + 5 * n, tl.sum(x, 0))


def fp64() -> None:
    a, b = random(64, dtype=torch.float64) * 1e3, random(64, seed=1, dtype=torch.float64)
    o = torch.zeros(6, 64, dtype=torch.float64)
    fp64_kernel[(1,)](a, b, o, 64, BLOCK=64)
    assert torch.equal(o[0], a / b)
    torch.testing.assert_close(o[1], a * b + a, rtol=1e-15, atol=1e-13)
    torch.testing.assert_close(o[2], a.abs().sqrt(), rtol=1e-15, atol=0)
    torch.testing.assert_close(o[3], torch.maximum(a, b) - b.floor(), rtol=1e-15, atol=0)
    torch.testing.assert_close(o[4], b.exp(), rtol=1e-14, atol=0)
    torch.testing.assert_close(o[5, 0], a.sum(), rtol=1e-13, atol=1e-10)


@triton.jit
def functions_kernel(x, o, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    v = tl.load(x + i, mask=i < n, other=1.0)
    tl.store(o + i, tl.erf(v), mask=i < n)
    tl.store(o + n + i, libdevice.tanh(v), mask=i < n)
    tl.store(o + 2 * n + i, tl.sin(v) + tl.cos(v), mask=i < n)
    tl.store(o + 3 * n + i, tl.sigmoid(v) * v, mask=i < n)
    tl.store(o + 4 * n + i, tl.log(tl.abs(v) + 1), mask=i < n)
    tl.store(o + 5 * n + i, libdevice.pow(tl.abs(v), 1.7), mask=i < n)


def functions() -> None:
    x = random(64) * 5
    o = torch.zeros(6, 64)
    functions_kernel[(1,)](x, o, 64, BLOCK=64)
    wanted = [torch.erf(x), torch.tanh(x), x.sin() + x.cos(), torch.nn.functional.silu(x), (x.abs() + 1).log(), x.abs() ** 1.7]
    torch.testing.assert_close(o, torch.stack(wanted), rtol=2e-5, atol=2e-5)


@triton.jit
def grid_stride_kernel(x, y, n, BLOCK: tl.constexpr):
    for start in range(tl.program_id(0) * BLOCK, n, tl.num_programs(0) * BLOCK):
        i = start + tl.arange(0, BLOCK)
        tl.store(y + i, tl.load(x + i, mask=i < n) * 2, mask=i < n)


def grid_stride() -> None:
    x = random(1000)
    y = torch.zeros_like(x)
    grid_stride_kernel[(3,)](x, y, 1000, BLOCK=64)
    assert torch.equal(y, 2 * x)


@triton.jit
def scan_kernel(x, y, z, ROWS: tl.constexpr, N: tl.constexpr):
    r, i = tl.arange(0, ROWS)[:, None], tl.arange(0, N)[None, :]
    v = tl.load(x + r * N + i)
    tl.store(y + r * N + i, tl.cumsum(v, 1))
    tl.store(z + r * N + i, tl.cumprod(v * 0.1 + 1, 1, reverse=True))


def scans() -> None:
    x = random(4, 128)
    y, z = torch.empty_like(x), torch.empty_like(x)
    scan_kernel[(1,)](x, y, z, ROWS=4, N=128)
    torch.testing.assert_close(y, x.cumsum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z, (x * 0.1 + 1).flip(1).cumprod(1).flip(1), rtol=1e-4, atol=1e-4)


@triton.jit
def half_kernel(a, b, o, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x, y = tl.load(a + i, mask=i < n, other=1.0), tl.load(b + i, mask=i < n, other=1.0)
    tl.store(o + i, x * y + x, mask=i < n)
    tl.store(o + n + i, tl.maximum(x, y), mask=i < n)
    tl.store(o + 2 * n + i, (x / y).to(tl.float16), mask=i < n)
    tl.store(o + 3 * n + i, x.to(tl.int16).to(tl.float16), mask=i < n)


def halves() -> None:
    a, b = random(128, dtype=torch.float16) * 10, random(128, seed=4, dtype=torch.float16)
    o = torch.zeros(4, 128, dtype=torch.float16)
    half_kernel[(1,)](a, b, o, 128, BLOCK=128)
    torch.testing.assert_close(o[0].double(), a.double() * b.double() + a.double(), rtol=2e-3, atol=0.05)
    assert torch.equal(o[1], torch.maximum(a, b)) and torch.equal(o[3], a.to(torch.int16).half())
    torch.testing.assert_close(o[2], a / b, rtol=2e-3, atol=0)


CHECKS: dict[str, Callable[[], None]] = {
    "layer norm": layer_norm, "rope": rope, "quantise to mxfp4": quantise_mxfp4, "quantise to fp8": quantise_fp8, "top-k": top_k,
    "gather rows": gather_rows, "gather in registers": gather_in_registers, "atomics on i32": atomics(torch.int32),
    "atomics on i64": atomics(torch.int64), "atomics on f32": atomics(torch.float32), "atomics on f64": atomics(torch.float64),
    "int64": int64, "fp64": fp64, "functions": functions, "grid stride": grid_stride, "scans": scans, "halves": halves,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_right(name: str) -> None:
    with on_gfx950(most_steps=200_000):
        CHECKS[name]()


@triton.jit
def largest_kernel(x, most, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.atomic_max(most + i * 0, tl.load(x + i))


def test_a_signed_maximum_that_triton_reduces_unsigned_is_seen() -> None:
    """Triton 3.7.1 combines the lanes of a wave that share an address by v_max_u32, also for signed numbers, ahead of the signed atomic.

    What the machine code does is what the executor gives: findings/triton_amd_signed_atomic_max.sh.
    """
    x, most, texts = torch.full((64,), 5, dtype=torch.int32), torch.tensor([-2000], dtype=torch.int32), []
    x[7] = -3
    with on_gfx950(program_filter=lambda text: texts.append(text) or text):
        largest_kernel[(1,)](x, most, N=64)
    unsigned = "v_max_u32" in texts[0] and "v_max_i32" not in texts[0]
    assert most.item() == (-3 if unsigned else 5)
