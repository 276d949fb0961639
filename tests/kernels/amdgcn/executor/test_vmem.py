"""Global and buffer loads and stores, scalar loads, atomics, against the bytes themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tunefork.kernels.amdgcn.errors import OutOfBounds, UnknownInstruction

BASE = 0x10000


@pytest.mark.parametrize(("name", "form"), [
    ("ubyte", "<u1"), ("sbyte", "<i1"), ("ushort", "<u2"), ("sshort", "<i2"), ("dword", "<u4"),
])  # fmt: skip
def test_narrow_loads(name: str, form: str, bench: Callable[..., Any]) -> None:
    run, size = bench(), np.dtype(form).itemsize
    offsets = run.random.permutation(1000)[:64] * size
    run.addresses(2, offsets)
    run.run(f"global_load_{name} v10, v[2:3], off offset:-{size}" if offsets.min() >= size else f"global_load_{name} v10, v[2:3], off")
    shift = size if offsets.min() >= size else 0
    wanted = [int(run.data[at - shift : at - shift + size].view(form)[0]) & 0xFFFFFFFF for at in offsets]
    assert run.words(10)[:64] == wanted


def test_wide_load_from_a_scalar_base_in_active_lanes(bench: Callable[..., Any]) -> None:
    run = bench()
    run.pair(4, BASE + 64)
    run.batch.vector[0] = np.arange(64) * 48
    before = run.batch.vector[10:14].copy()
    run.exec_mask(0xF0F0F0F0F0F0F0F0)
    run.run("global_load_dwordx4 v[10:13], v0, s[4:5] offset:16")
    for lane in range(64):
        wanted = run.data[80 + 48 * lane : 96 + 48 * lane].view("<u4")
        assert (run.batch.vector[10:14, 0, lane] == (wanted if lane % 8 >= 4 else before[:, 0, lane])).all()
    buffer = run.memory.buffers[0]
    assert buffer.loaded == 2 * 32 * 16


def test_stores(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    before = run.data.copy()
    run.addresses(2, np.arange(64) * 32)
    run.exec_mask(0xFFFFFFFF)
    run.run("global_store_dwordx3 v[2:3], v[20:22], off offset:4", "global_store_short_d16_hi v[2:3], v23, off offset:20")
    for lane in range(64):
        line = run.data[32 * lane : 32 * lane + 32]
        old = before[32 * lane : 32 * lane + 32].copy()
        if lane < 32:
            old[4:16] = run.batch.vector[20:23, 0, lane].copy().view(np.uint8)
            old[20:22] = run.batch.vector[23:24, 0, lane].copy().view(np.uint8)[2:]
        assert (line == old).all()


def resource(run: Any, records: int) -> None:
    run.scalar(8, BASE & 0xFFFFFFFF), run.scalar(9, BASE >> 32), run.scalar(10, records), run.scalar(11, 0x27000)


def test_buffer_range_check(bench: Callable[..., Any]) -> None:
    """Loads beyond num_records give zero, stores are dropped; the scalar offset counts."""
    run = bench()
    resource(run, 256)
    run.scalar(4, 128)
    run.batch.vector[0] = np.arange(64) * 4
    run.run("buffer_load_dword v10, v0, s[8:11], s4 offen offset:4")
    words = run.data[132 : 132 + 256].view("<u4").tolist()
    assert run.words(10)[:64] == [words[lane] if 132 + 4 * lane + 4 <= 256 else 0 for lane in range(64)]
    before = run.data.copy()
    run.run("buffer_store_dword v1, v0, s[8:11], 0 offen")
    assert (run.data[256:] == before[256:]).all() and run.data[:256].view("<u4").tolist() == run.words(1)[64:]
    run.batch.vector[0] = 0x80000000
    resource(run, 0x7FFFFFFE)
    assert set(run.run("buffer_load_dword v10, v0, s[8:11], 0 offen").words(10)) == {0}


def test_out_of_bounds_is_caught_inside_the_range(bench: Callable[..., Any]) -> None:
    run = bench()
    resource(run, 0x7FFFFFFE)
    run.batch.vector[0] = 65536 - 4
    run.run("buffer_load_dword v10, v0, s[8:11], 0 offen")
    with pytest.raises(OutOfBounds):
        run.run("buffer_load_dwordx2 v[10:11], v0, s[8:11], 0 offen")
    with pytest.raises(UnknownInstruction, match="idxen"):
        run.run("buffer_load_dword v10, v0, s[8:11], 0 idxen")


def test_accesses_at_any_byte(bench: Callable[..., Any]) -> None:
    """Whole items take a faster way than others: here all are whole, some are, none is."""
    for start, step in ((64, 16), (64, 20), (65, 16)):
        run = bench(waves=1)
        run.addresses(2, places := start + step * np.arange(64))
        for name, registers in (("dword", 1), ("dwordx2", 2), ("dwordx3", 3), ("dwordx4", 4)):
            span = "v10" if registers == 1 else f"v[10:{9 + registers}]"
            run.run(f"global_load_{name} {span}, v[2:3], off")
            wanted = np.stack([run.data[at : at + 4 * registers].view("<u4") for at in places])
            assert (wanted == run.batch.vector[10 : 10 + registers, 0].T).all(), (start, step, name)
        kept = run.data.copy()
        run.run("global_store_dwordx4 v[2:3], v[20:23], off", "global_store_short v[2:3], v24, off")
        for lane, at in enumerate(places):
            kept[at : at + 16] = run.batch.vector[20:24, 0, lane].copy().view(np.uint8)
            kept[at : at + 2] = run.batch.vector[24:25, 0, lane].copy().view(np.uint8)[:2]
        assert (run.data == kept).all()


def test_lanes_may_go_to_several_buffers_but_no_access_to_two(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    other = run.random.integers(0, 256, 1024, dtype=np.uint8)
    run.memory.register(BASE + run.data.size, other, "other")
    both, places = np.concatenate((run.data, other)), run.data.size - 256 + 8 * np.arange(64)
    run.addresses(2, places)
    run.run("global_load_dwordx2 v[10:11], v[2:3], off")
    assert run.wide(10) == both[places[0] : places[0] + 512].view("<u8").tolist()
    run.addresses(2, places + 4)
    with pytest.raises(OutOfBounds, match=f"8 bytes at {BASE + run.data.size - 4:#x}"):
        run.run("global_load_dwordx2 v[10:11], v[2:3], off")


def test_scalar_load(bench: Callable[..., Any]) -> None:
    run = bench()
    run.pair(4, BASE + 32)
    run.scalar(6, 16)
    run.run("s_load_dwordx4 s[12:15], s[4:5], 0x8", "s_load_dword s16, s[4:5], s6")
    assert [run.scalar(at) for at in range(12, 16)] == run.data[40:56].view("<u4").tolist()
    assert run.scalar(16) == int(run.data[48:52].view("<u4")[0])


@pytest.mark.parametrize("spread", [1, 8], ids=["one address", "eight addresses"])
def test_atomic_add_returns_each_old_value(spread: int, bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.addresses(2, np.arange(64) % spread * 4)
    run.batch.vector[1] = 3
    old = run.data[:32].view("<u4").astype(int)
    run.run("global_atomic_add v10, v[2:3], v1, off sc0")
    assert run.words(10) == [(old[lane % spread] + 3 * (lane // spread)) & 0xFFFFFFFF for lane in range(64)]
    assert run.data[0:4].view("<u4")[0] == (old[0] + 3 * (64 // spread)) & 0xFFFFFFFF


def test_float_and_packed_atomics(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.data[:64] = 0
    run.addresses(2, np.zeros(64, int))
    run.floats(1, np.arange(64))
    run.run("global_atomic_add_f32 v[2:3], v1, off")
    assert run.data[:4].view("<f4")[0] == sum(range(64))
    run.addresses(2, np.full(64, 8))
    run.batch.vector[1] = int(torch.tensor([0.5, 2.0]).bfloat16().view(torch.int32).item())
    run.exec_mask(0xFF)
    run.run("global_atomic_pk_add_bf16 v[2:3], v1, off")
    assert torch.from_numpy(run.data[8:12].copy()).view(torch.bfloat16).tolist() == [4.0, 16.0]


def test_compare_and_swap_by_one_winner(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.data[:4] = 0
    run.addresses(2, np.zeros(64, int))
    run.batch.vector[20], run.batch.vector[21] = np.arange(64) + 100, 0
    run.run("global_atomic_cmpswap v10, v[2:3], v[20:21], off sc0")
    assert run.data[:4].view("<u4")[0] == 100
    assert run.words(10) == [0] + [100] * 63


def test_f64_atomics(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.addresses(2, np.arange(64) % 4 * 8)
    content, given = run.random.standard_normal(4), run.random.standard_normal(64)
    for name, formula in (("add", lambda old, new: old + new), ("min", min), ("max", max)):
        run.data[:32] = content.view(np.uint8)
        bits = given.view("<u8")
        run.batch.vector[20, 0], run.batch.vector[21, 0] = bits.astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32)
        wanted = content.tolist()
        for lane in range(64):
            wanted[lane % 4] = formula(wanted[lane % 4], float(given[lane]))
        run.run(f"global_atomic_{name}_f64 v[2:3], v[20:21], off")
        assert run.data[:32].view(np.float64).tolist() == wanted


def test_buffer_atomic_obeys_the_range(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.data[:256] = 0
    resource(run, 128)
    run.batch.vector[0], run.batch.vector[1] = np.arange(64) * 4, 1
    run.run("buffer_atomic_umax v1, v0, s[8:11], 0 offen")
    assert run.data[:256].view("<u4").tolist() == [1] * 32 + [0] * 32
    run.run("buffer_atomic_add v1, v0, s[8:11], 0 offen sc0")
    assert run.words(1) == [1] * 32 + [0] * 32


def test_flat_loads_are_on_both_counters(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.addresses(2, np.arange(64) * 4)
    run.run("flat_load_dword v10, v[2:3]")
    assert run.words(10) == run.data[:256].view("<u4").tolist()
    assert len(run.batch.counters.vector) == len(run.batch.counters.lgkm) == 1
    run.run("s_waitcnt vmcnt(0) lgkmcnt(0)", "flat_store_dword v[2:3], v1")
    assert run.data[:256].view("<u4").tolist() == run.words(1)
    run.batch.vector[3] = 0x7FFF
    with pytest.raises(OutOfBounds, match="in no registered buffer"):
        run.run("flat_load_dword v10, v[2:3]")
