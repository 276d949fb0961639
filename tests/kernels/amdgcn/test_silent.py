"""Options and tiles that Triton takes for gfx950 in silence: the gate refuses each, by what this Triton made of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl

from tunefork.kernels import registry
from tunefork.kernels.amdgcn.compile import Compiled, compile_all
from tunefork.kernels.amdgcn.facts import facts_of
from tunefork.kernels.amdgcn.gate import gate
from tunefork.kernels.amdgcn.silent import code_faults, idle_options, option_faults
from tunefork.kernels.shipped import Shipped


@triton.jit
def product_kernel(a, b, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    total = tl.dot(tl.load(a + m[:, None] * K + k[None, :]), tl.load(b + k[:, None] * N + n[None, :]))
    tl.store(c + m[:, None] * N + n[None, :], total)


def entry(rows: int, **options: Any) -> Shipped:
    return Shipped(
        kernel="product", fn=product_kernel, config="plain", shape=f"M={rows}", signature={"a": "*fp16", "b": "*fp16", "c": "*fp32"},
        constexprs={"M": rows, "N": 32, "K": 32}, options={"num_warps": 4, **options}, grid=(1, 1, 1), check=None, tolerance=0.0,
    )  # fmt: skip


def compiled(one: Shipped, cache: Path) -> Compiled:
    (code,) = compile_all([one], cache=cache, workers=1)
    assert isinstance(code, Compiled)
    return code


@pytest.mark.parametrize(("options", "said"), [
    ({"num_warps": 32}, "num_warps is 32: a power of two of at most 16"),
    ({"num_warps": 6}, "num_warps is 6"),
    ({"matrix_instr_nonkdim": 17}, "matrix_instr_nonkdim is 17, which drops every matrix instruction"),
    ({"kpack": 2}, rf"kpack=2 changes nothing: Triton {triton.__version__} replaces it by 1"),
    ({"wave_per_eu": 2}, rf"Triton {triton.__version__} drops the option wave_per_eu; did you mean waves_per_eu"),
])  # fmt: skip
def test_an_option_that_is_nothing(options: dict[str, Any], said: str) -> None:
    lines = option_faults(options)
    assert len(lines) == 1 and said in lines[0]


def test_no_shipped_row_has_one() -> None:
    rows = list(registry.entries("gfx950"))
    assert len(rows) > 10 and not [line for row in rows for line in option_faults(row.options)]


def test_a_tile_that_loses_its_matrix_instructions(tmp_path: Path) -> None:
    """Compiled: eight rows become v_dot2, sixteen keep v_mfma. From the cache, too."""
    for _ in range(2):
        lost, kept = compiled(entry(8), tmp_path), compiled(entry(16), tmp_path)
        assert lost.dots == kept.dots == 1 and "v_mfma" not in lost.text and "v_mfma" in kept.text
        assert code_faults(kept, sum(facts_of(kept).mfma.values())) == []
        (line,) = code_faults(lost, sum(facts_of(lost).mfma.values()))
        assert "its 1 dots have no matrix instruction" in line and lost.triton in line


def test_more_lds_than_a_cu_has(tmp_path: Path) -> None:
    code = compiled(entry(16), tmp_path)
    assert code_faults(dataclasses.replace(code, shared=160 * 1024), 1) == []
    (line,) = code_faults(dataclasses.replace(code, shared=160 * 1024 + 1), 1)
    assert "163841 bytes of LDS, a CU has 163840" in line


def test_the_gate_says_them(tmp_path: Path) -> None:
    rows = gate([entry(8), entry(16), entry(16, kpack=2), entry(16, waves=1)], execute=False, cache=tmp_path, workers=1)
    assert [sum("no matrix" in line or "changes nothing" in line or "drops" in line for line in row.failures) for row in rows] == [1, 0, 1, 1]


def test_an_option_that_leaves_the_code_as_it_is(tmp_path: Path) -> None:
    """Counted, by compiling without it: 32 x 32 is a matrix instruction of its own, of 16 rows Triton makes 16 x 16 unasked."""
    idle, used = entry(16, matrix_instr_nonkdim=16), entry(32, matrix_instr_nonkdim=16)
    restated = entry(16, waves_per_eu=0, num_stages=1)
    codes = compile_all([idle, used, restated], cache=tmp_path, workers=1)
    assert idle_options([restated], codes[2:], cache=tmp_path, workers=1) == {}, "it asks for nothing"
    assert idle_options([used], codes[1:2], cache=tmp_path, workers=1) == {}, "it changes the code"
    assert idle_options([idle, used], codes[:2], cache=tmp_path, workers=1) == {}, "it changes a row of the kernel"
    assert idle_options([idle], codes[:1], cache=tmp_path, workers=1) == {
        ("product", "matrix_instr_nonkdim", 16): f"matrix_instr_nonkdim=16 changes nothing: Triton {triton.__version__} makes the same instructions without it"}
