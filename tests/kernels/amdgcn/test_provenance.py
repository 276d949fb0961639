"""Loads are told apart by the argument they read from."""

from __future__ import annotations

import pytest
import triton
import triton.language as tl

from tunefork.kernels.amdgcn.assembly import Instruction, parse
from tunefork.kernels.amdgcn.budget import DEFAULT_LIMITS, failures, weight_loads
from tunefork.kernels.amdgcn.compile import Compiled, compile_all
from tunefork.kernels.amdgcn.errors import BadAssembly
from tunefork.kernels.amdgcn.provenance import address_operands, registers, sources_of_loads, widths_by_argument
from tunefork.kernels.shipped import Shipped


@triton.jit
def two_streams_kernel(a, narrow, out, n, TURNS: tl.constexpr):
    i = tl.arange(0, 256)
    total = tl.zeros([256], tl.float32)
    for turn in range(n):
        wide = tl.load(a + turn * 1024 + i[:, None] * 4 + tl.arange(0, 4)[None, :])
        total += tl.sum(wide, 1) * tl.load(narrow + turn * 256 + i)
    tl.store(out + i, total)


@pytest.fixture(scope="module")
def entry() -> Shipped:
    signature = {"a": "*fp32", "narrow": "*fp32", "out": "*fp32", "n": "i32"}
    return Shipped("streams", two_streams_kernel, "c", "s", signature, {"TURNS": 1}, {"num_warps": 4}, {"a": 16, "narrow": 16, "out": 16})


@pytest.fixture(scope="module")
def code(entry: Shipped, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    (found,) = compile_all([entry], cache=tmp_path_factory.mktemp("cache"), workers=1)
    assert isinstance(found, Compiled)
    return found


def test_loads_belong_to_their_arguments(entry: Shipped, code: Compiled) -> None:
    program = parse(code.text)
    found = widths_by_argument(program, program.instructions, entry.arguments)
    assert set(found) == {"a", "narrow"} and set(found["a"]) == {"16"} and set(found["narrow"]) == {"4"}


def test_narrow_weight_loads_fail_the_gate(entry: Shipped, code: Compiled) -> None:
    program = parse(code.text)
    loads = widths_by_argument(program, program.instructions, entry.arguments)
    wide = weight_loads(loads, ("a",), 0)
    assert wide.pop("wide_weight_loads") >= 1 and wide == {"narrow_weight_loads": 0, "unattributed_loads": 0}
    unseen = weight_loads(loads, ("renamed",), 0)
    assert "wide_weight_loads is 0, the limit is at least 1" in failures("k", unseen, DEFAULT_LIMITS, {})[0], "weights nobody sees are not read well"
    narrow = weight_loads(loads, ("narrow",), 0)
    assert narrow["narrow_weight_loads"] >= 1 and weight_loads(loads, ("narrow",), 99)["narrow_weight_loads"] == 0
    assert any("narrow_weight_loads is 1, the limit is at most 0" in line for line in failures("k", narrow, DEFAULT_LIMITS, {}))
    assert weight_loads(loads, (), 0) == {}


def base_of(load: Instruction) -> str:
    """The register with the low half of a load's base address."""
    return registers(next(text for text in reversed(address_operands(load)) if registers(text)))[0]


def test_what_cannot_be_told_is_said(entry: Shipped, code: Compiled) -> None:
    """A pointer that could be either argument's is neither's."""
    lines, program = code.text.split("\n"), parse(code.text)
    at = next(number for number, line in enumerate(lines) if "_load_dwordx4" in line)
    wide, other = (base_of(next(item for item in program.instructions if item.mnemonic.endswith(name))) for name in ("_load_dwordx4", "_load_dword"))
    join = "s_or_b32" if wide.startswith("s") else "v_or_b32_e32"
    same, mixed = ([*lines[:at], f"\t{join} {wide}, {wide}, {one}", *lines[at:]] for one in (wide, other))
    assert set(sources_of_loads(parse("\n".join(same)), entry.arguments).values()) == {"a", "narrow"}
    assert "?" in sources_of_loads(parse("\n".join(mixed)), entry.arguments).values()
    with pytest.raises(BadAssembly, match="names came"):
        sources_of_loads(parse(code.text), [*entry.arguments, *"abcdefgh"])


def test_registers_of_operands() -> None:
    assert registers("s[2:3]") == ["s2", "s3"] and registers("-v7") == ["v7"] and registers("vcc") == ["vcc"] and registers("0x10") == []
