"""Waits: what has completed after s_waitcnt, and what must not be touched before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunefork.kernels.amdgcn.assembly import parse_instruction
from tunefork.kernels.amdgcn.errors import MissingWait
from tunefork.kernels.amdgcn.executor.decode import Decoded, decode_instruction, guards
from tunefork.kernels.amdgcn.executor.machine.counters import Counters, Outstanding


def decoded(text: str) -> Decoded:
    instruction = parse_instruction(text)
    step, operands = decode_instruction(instruction)
    return Decoded(instruction, "step", step, *guards(instruction, operands))


def refused(run: Any, text: str) -> bool:
    """Whether the hazard check stops an instruction."""
    try:
        decoded(text).check(run.batch)
    except MissingWait:
        return True
    return False


def test_vector_loads_complete_in_order(bench: Callable[..., Any]) -> None:
    run = bench()
    run.addresses(2, [0] * 64)
    run.run("global_load_dword v10, v[2:3], off", "global_load_dwordx2 v[12:13], v[2:3], off", "global_store_dword v[2:3], v20, off")
    assert refused(run, "v_add_u32_e32 v0, v10, v1") and refused(run, "v_mov_b32_e32 v12, v1")
    assert not refused(run, "v_mov_b32_e32 v14, v1")
    run.run("s_waitcnt vmcnt(2)")
    assert not refused(run, "v_mov_b32_e32 v0, v10") and refused(run, "v_mov_b32_e32 v0, v13")
    run.run("s_waitcnt lgkmcnt(0)")
    assert refused(run, "ds_write_b64 v0, v[12:13]")
    run.run("s_waitcnt vmcnt(1)")
    assert not refused(run, "v_mov_b32_e32 v0, v13") and len(run.batch.counters.vector) == 1


def test_a_full_counter_waits_for_the_oldest(bench: Callable[..., Any]) -> None:
    """vmcnt counts to 63, lgkmcnt to 15: with as many outstanding, what came before has been waited for by the hardware."""
    run = bench()
    run.addresses(2, [0] * 64)
    run.batch.vector[0] = 0
    run.run("global_load_dword v10, v[2:3], off", *["global_load_dword v11, v[2:3], off"] * 62)
    assert refused(run, "v_mov_b32_e32 v0, v10")
    run.run("global_load_dword v12, v[2:3], off")
    assert not refused(run, "v_mov_b32_e32 v0, v10") and refused(run, "v_mov_b32_e32 v0, v11")
    run.run("ds_read_b32 v20, v0", *["ds_read_b32 v21, v0"] * 15)
    assert not refused(run, "v_mov_b32_e32 v4, v20") and refused(run, "v_mov_b32_e32 v4, v21")


def test_a_full_counter_lands_direct_to_lds_loads(bench: Callable[..., Any]) -> None:
    run = bench()
    run.addresses(2, [0] * 64)
    run.scalar(124, 0)
    run.batch.vector[0] = 0
    run.run("global_load_lds_dword v[2:3], off", *["global_load_dword v11, v[2:3], off"] * 63)
    assert run.run("ds_read_b32 v10, v0").words(10)[0] == int(run.data[:4].view("<u4")[0])


def test_scalar_loads_keep_a_full_counter(bench: Callable[..., Any]) -> None:
    run = bench()
    run.pair(4, 0x10000)
    run.run("s_load_dword s8, s[4:5], 0x0", *["s_load_dword s9, s[4:5], 0x0"] * 20)
    assert refused(run, "s_add_u32 s0, s8, s1")


@pytest.mark.parametrize(("word", "left"), [("0", (0, 0)), ("0xf70", (0, 2)), ("0xc07f", (2, 0)), ("3952", (0, 2)), ("0x4f70", (2, 2))])
def test_a_wait_as_a_bare_number(word: str, left: tuple[int, int], bench: Callable[..., Any]) -> None:
    run = bench()
    run.addresses(2, [0] * 64)
    run.batch.vector[0] = 0
    run.run(*["global_load_dword v11, v[2:3], off", "ds_read_b32 v21, v0"] * 2, f"s_waitcnt {word}")
    assert (len(run.batch.counters.vector), len(run.batch.counters.lgkm)) == left


def test_a_load_may_refill_what_an_earlier_one_of_its_counter_fills(bench: Callable[..., Any]) -> None:
    run = bench()
    run.addresses(2, [0] * 64)
    run.run("global_load_dword v10, v[2:3], off")
    assert not refused(run, "global_load_dword v10, v[2:3], off")
    assert refused(run, "ds_read_b32 v10, v0") and refused(run, "global_load_dword v20, v[10:11], off")


def test_scalar_loads_need_a_wait_for_zero(bench: Callable[..., Any]) -> None:
    run = bench()
    run.pair(4, 0x10000)
    run.batch.vector[0] = 0
    run.run("s_load_dwordx2 s[8:9], s[4:5], 0x0", "ds_read_b32 v10, v0", "ds_read_b32 v11, v0")
    run.run("s_waitcnt lgkmcnt(1)")
    assert refused(run, "s_add_u32 s0, s9, s1") and refused(run, "v_mov_b32_e32 v0, v11")
    assert not refused(run, "v_mov_b32_e32 v0, v10")
    run.run("s_waitcnt vmcnt(0) lgkmcnt(0)")
    assert not refused(run, "s_add_u32 s0, s9, s1")


def test_the_message_names_register_and_counter(bench: Callable[..., Any]) -> None:
    run = bench()
    run.addresses(2, [0] * 64)
    run.run("global_load_dword v10, v[2:3], off")
    with pytest.raises(MissingWait, match=r"`v_mov_b32_e32 v0, v10`: v10 is used while .* \(s_waitcnt vmcnt\)"):
        decoded("v_mov_b32_e32 v0, v10").check(run.batch)


def test_queues_join_only_when_they_are_alike() -> None:
    one, other = Counters(), Counters()
    one.issue_vector(Outstanding("load", frozenset({3})))
    assert not one.matches(other)
    other.issue_vector(Outstanding("load", frozenset({3})))
    assert one.matches(other) and one.joined(other).guarded_vector == {3}
    other.issue_lgkm(Outstanding("scalar", frozenset({1030})))
    assert not one.matches(other)
