"""Atomics on global memory and LDS: lanes take their turns in lane order, waves in the launch's randomised order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa.ds import access
from tunefork.kernels.amdgcn.executor.isa.floating import double
from tunefork.kernels.amdgcn.executor.isa.narrow import round_bf16
from tunefork.kernels.amdgcn.executor.isa.vmem import locator, offset_of
from tunefork.kernels.amdgcn.executor.machine.counters import Outstanding
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]


@dataclass(frozen=True)
class Atomic:
    """The type in memory and the new value from (old, given)."""

    kind: type[np.generic]
    function: Callable[[Any, Any], Any]


def add_bf16_pair(old: Array, given: Array) -> Array:
    low, high = np.uint32(16), np.uint32(0xFFFF0000)

    def total(a: Array, b: Array) -> Array:
        return round_bf16((double(a.view(np.float32)) + double(b.view(np.float32))).astype(np.float32))

    result: Array = total(old << low, given << low) | (total(old & high, given & high) << low)
    return result


def add_f16_pair(old: Array, given: Array) -> Array:
    total = np.atleast_1d(old).view(np.float16) + np.atleast_1d(given).view(np.float16)
    return total.view(np.uint32)


def _table() -> dict[str, Atomic]:
    table = {}
    for suffix, unsigned, signed in (("", np.uint32, np.int32), ("_x2", np.uint64, np.int64)):
        table[f"add{suffix}"] = Atomic(unsigned, lambda old, given: old + given)
        table[f"sub{suffix}"] = Atomic(unsigned, lambda old, given: old - given)
        table[f"and{suffix}"] = Atomic(unsigned, lambda old, given: old & given)
        table[f"or{suffix}"] = Atomic(unsigned, lambda old, given: old | given)
        table[f"xor{suffix}"] = Atomic(unsigned, lambda old, given: old ^ given)
        table[f"swap{suffix}"] = Atomic(unsigned, lambda old, given: given)
        table[f"umax{suffix}"] = Atomic(unsigned, np.maximum)
        table[f"umin{suffix}"] = Atomic(unsigned, np.minimum)
        table[f"smax{suffix}"] = Atomic(signed, np.maximum)
        table[f"smin{suffix}"] = Atomic(signed, np.minimum)
        table[f"rsub{suffix}"] = Atomic(unsigned, lambda old, given: given - old)
        table[f"inc{suffix}"] = Atomic(unsigned, lambda old, given: np.where(old >= given, 0, old + 1).astype(old.dtype))
        table[f"dec{suffix}"] = Atomic(unsigned, lambda old, given: np.where((old == 0) | (old > given), given, old - 1).astype(old.dtype))
    for kind, dtype in (("f32", np.float32), ("f64", np.float64)):
        table[f"min_{kind}"] = Atomic(dtype, lambda old, given: np.where(given < old, given, old))
        table[f"max_{kind}"] = Atomic(dtype, lambda old, given: np.where(given > old, given, old))
    table["add_f32"] = Atomic(np.float32, lambda old, given: old + given)
    table["add_f64"] = Atomic(np.float64, lambda old, given: old + given)
    table["pk_add_bf16"] = Atomic(np.uint32, add_bf16_pair)
    table["pk_add_f16"] = Atomic(np.uint32, add_f16_pair)
    return table


GLOBAL = _table()


def _lds_names() -> dict[str, str]:
    """The LDS form of each atomic, without _rtn, and its name in the table."""
    names = {"add_f32": "add_f32", "add_f64": "add_f64", "pk_add_f16": "pk_add_f16", "pk_add_bf16": "pk_add_bf16"}
    for bits, suffix in ((32, ""), (64, "_x2")):
        names |= {f"{name}_u{bits}": f"{name}{suffix}" for name in ("add", "sub", "rsub", "inc", "dec")}
        names |= {f"{name}_b{bits}": f"{name}{suffix}" for name in ("and", "or", "xor")}
        names |= {f"{name}_{sign}{bits}": f"{letter}{name}{suffix}" for name in ("min", "max") for sign, letter in (("u", "u"), ("i", "s"))}
        names |= {f"{name}_f{bits}": f"{name}_f{bits}" for name in ("min", "max")}
        names[f"wrxchg_b{bits}"] = f"swap{suffix}"
    return names


LDS_NAMES = _lds_names()
COMPARE: dict[str, type[np.generic]] = {"b32": np.uint32, "b64": np.uint64, "f32": np.float32, "f64": np.float64}


def given_values(batch: Batch, source: Operand, kind: type[np.generic], place: int = 0) -> Array:
    """The lanes' values as the atomic's type, (waves, 64)."""
    count = np.dtype(kind).itemsize // 4
    index = source.index + place * count
    words = batch.bank(source.bank)[index] if count == 1 else batch.pair(source.bank, index)
    return words.view(kind)


def perform(items: Array, offset: Array, atomic: Atomic, given: Array, expected: Array | None) -> Array:
    """Do the lanes' atomics one after another where addresses meet, all at once where none do. Returns the old values.

    items: memory as overlapping items.  offset, given: (n,).  expected: for compare-and-swap.
    """
    size = np.dtype(atomic.kind).itemsize

    def at(places: Array, values: Array, wanted: Array | None) -> Array:
        old = items[places].view(atomic.kind)
        new = atomic.function(old, values)
        if wanted is not None:
            new = np.where(old == wanted, new, old)
        items[places] = np.ascontiguousarray(new).astype(atomic.kind).view(f"V{size}")
        return np.asarray(old)

    if len(np.unique(offset)) == len(offset):
        return at(offset, given, expected)
    old = np.empty(len(offset), atomic.kind)
    for lane in range(len(offset)):
        one = slice(lane, lane + 1)
        old[one] = at(offset[one], given[one], None if expected is None else expected[one])
    return old


def write_old(batch: Batch, target: Operand, old: Array, active: Array) -> None:
    words = np.ascontiguousarray(old).view(np.uint32).reshape(len(old), -1)
    for place in range(words.shape[1]):
        batch.bank(target.bank)[target.index + place][active] = words[:, place]


def on_global(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """global_atomic_* and buffer_atomic_*; with sc0 the old value comes back, zero for lanes outside a buffer's range."""
    name = found[2]
    swaps = name.startswith("cmpswap")
    atomic = Atomic(np.uint64 if name.endswith("_x2") else np.uint32, lambda old, given: given) if swaps else GLOBAL.get(name)
    if atomic is None:
        raise UnknownInstruction(f"unknown atomic {name}", instruction.where)
    buffer, returns = found[1] == "buffer", "sc0" in instruction.modifiers
    if buffer:
        source, target, rest = operands[0], operands[0], operands[1:]
    else:
        target = operands[0]
        plain = operands[1:] if returns else operands
        source, rest = plain[1], [plain[0], *plain[2:]]
    locate, size = locator(instruction, rest), np.dtype(atomic.kind).itemsize
    registers = Operand(target.bank, target.index, size // 4).keys if returns else frozenset()

    def step(batch: Batch) -> None:
        where = locate(batch, size)
        active = batch.active if where.inside is None else batch.active & where.inside
        address = where.address[active]
        given = given_values(batch, source, atomic.kind)[active]
        wanted = given_values(batch, source, atomic.kind, 1)[active] if swaps else None
        old = np.empty(len(address), atomic.kind)
        for part, which, offset in batch.machine.memory.parts(address, size):
            part.stored += offset.size * size
            old[which] = perform(part.items(size).anywhere, offset, atomic, given[which], None if wanted is None else wanted[which])
        if returns:
            if where.inside is not None:
                write_old(batch, target, np.zeros(int(batch.active.sum()), atomic.kind), batch.active)
            write_old(batch, target, old, active)
        batch.issue_vector(Outstanding("load" if returns else "store", registers))

    return step


def on_lds(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_<op>[_rtn]_*: atomics on LDS. A compare-and-store gives the value to compare with first, as DATA, then the new one."""
    name = found[0].removeprefix("ds_")
    returns, plain = "_rtn" in name, name.replace("_rtn", "")
    swaps = plain.startswith("cmpst_")
    atomic = Atomic(COMPARE[plain[-3:]], lambda old, given: given) if swaps else GLOBAL[LDS_NAMES[plain]]
    target, (address, *sources) = operands[0], operands[returns:]
    size, offset = np.dtype(atomic.kind).itemsize, offset_of(instruction)
    registers = Operand(target.bank, target.index, size // 4).keys if returns else frozenset()

    def step(batch: Batch) -> None:
        lds = batch.machine.lds
        place = access(batch, address, offset, size)
        flat = lds.flat(place)
        given = [given_values(batch, source, atomic.kind)[place.active] for source in sources]
        old = perform(lds.items[size].anywhere, flat, atomic, given[-1], given[0] if swaps else None)
        lds.mark_write(place)
        if returns:
            write_old(batch, target, old, place.active)
        batch.counters.issue_lgkm(Outstanding("lds_write", registers, place))

    return step


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of an atomic, or None where this family does not know the mnemonic."""
    if found := re.match(r"(global|buffer)_atomic_(\w+)$", instruction.base):
        return on_global(instruction, operands, found)
    if found := re.match(r"ds_\w+$", instruction.base):
        plain = found[0].removeprefix("ds_").replace("_rtn", "")
        if plain in LDS_NAMES or plain in {f"cmpst_{kind}" for kind in COMPARE}:
            return on_lds(instruction, operands, found)
    return None
