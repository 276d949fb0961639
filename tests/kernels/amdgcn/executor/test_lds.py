"""DS instructions and the LDS race detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tunefork.kernels.amdgcn.errors import LdsRace, MissingWait, OutOfBounds
from tunefork.kernels.amdgcn.executor.machine.operands import M0


def fill(run: Any) -> np.ndarray[Any, Any]:
    """Random LDS content; returns it as bytes."""
    content = run.random.integers(0, 256, run.lds.size, dtype=np.uint8)
    run.lds.data[: run.lds.size] = content
    return content


@pytest.mark.parametrize(("text", "size", "form"), [
    ("ds_read_b32 v10, v0", 4, "<u4"), ("ds_read_u8 v10, v0", 1, "<u1"), ("ds_read_i8 v10, v0", 1, "<i1"),
    ("ds_read_u16 v10, v0", 2, "<u2"), ("ds_read_i16 v10, v0", 2, "<i2"),
])  # fmt: skip
def test_narrow_reads(text: str, size: int, form: str, bench: Callable[..., Any]) -> None:
    run = bench()
    content = fill(run)
    run.batch.vector[0] = np.arange(64) * 7 % 100 * size
    run.run(f"{text} offset:260")
    for lane in range(64):
        place = lane * 7 % 100 * size + 260
        wanted = int(content[place : place + size].view(form)[0]) & 0xFFFFFFFF
        assert run.batch.vector[10, 0, lane] == wanted


@pytest.mark.parametrize("registers", [1, 2, 3, 4])
def test_wide_reads_and_writes(registers: int, bench: Callable[..., Any]) -> None:
    run, bits, one = bench(), 32 * registers, registers == 1
    content = fill(run)
    run.batch.vector[0] = np.arange(64) * 4 * registers
    span = "v20" if one else f"v[20:{19 + registers}]"
    run.run(f"ds_read_b{bits} {span}, v0 offset:16")
    words = content[16 : 16 + 256 * registers].view("<u4").reshape(64, registers)
    for place in range(registers):
        assert (run.batch.vector[20 + place] == words[:, place]).all()
    run.batch.vector[0] = (63 - np.arange(64)) * 4 * registers
    run.lds.barrier(np.array([0]), everyone=True)
    run.exec_mask(0xFFFFFFFF)
    run.run(f"ds_write_b{bits} v0, {span} offset:2048")
    written = run.lds.data[2048 : 2048 + 256 * registers].view("<u4").reshape(64, registers)
    assert (written[32:] == words[31::-1]).all()
    assert (written[:32].view(np.uint8).ravel() == content[2048 : 2048 + 128 * registers]).all()


def test_two_places_at_once(bench: Callable[..., Any]) -> None:
    run = bench()
    content = fill(run)
    run.batch.vector[0] = np.arange(64) * 4
    run.run("ds_read2_b32 v[10:11], v0 offset0:3 offset1:200", "ds_read2st64_b32 v[12:13], v0 offset0:1 offset1:2")
    words = content.view("<u4")
    for register, start in ((10, 3), (11, 200), (12, 64), (13, 128)):
        assert (run.batch.vector[register] == words[start : start + 64]).all()
    run.run("ds_read2_b64 v[20:23], v0 offset0:1 offset1:5")
    assert (run.batch.vector[22, 0] == content[40 : 40 + 256].view("<u4")).all()
    other = bench(waves=1)
    other.batch.vector[0] = np.arange(64) * 8
    other.run("ds_write2st64_b64 v0, v[2:3], v[4:5] offset0:1 offset1:3")
    stored = other.lds.data[: other.lds.size].view("<u4")
    assert (stored[128:256:2] == other.batch.vector[2]).all() and (stored[385:512:2] == other.batch.vector[5]).all()
    assert len(other.batch.counters.lgkm) == 1


def test_halves_of_a_register(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    content = fill(run)
    run.batch.vector[0] = np.arange(64) * 2
    run.batch.vector[10] = run.batch.vector[11] = 0xAAAABBBB
    run.run("ds_read_u16_d16 v10, v0", "ds_read_u16_d16_hi v11, v0", "ds_read_u8_d16_hi v12, v0")
    halves = content[:128].view("<u2")
    assert (run.batch.vector[10] == (0xAAAA0000 | halves.astype(np.uint32))).all()
    assert (run.batch.vector[11] == (0xBBBB | halves.astype(np.uint32) << 16)).all()
    run.run("ds_write_b8_d16_hi v0, v3 offset:512", "ds_write_b16 v0, v4 offset:1024")
    assert (run.lds.data[512:640:2] == (run.batch.vector[3, 0] >> 16 & 255)).all()
    assert (run.lds.data[1024:1152].view("<u2") == (run.batch.vector[4, 0] & 0xFFFF)).all()


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_transposing_read(bits: int, bench: Callable[..., Any]) -> None:
    """16 lanes read a block row by row; lane l of them gets column l: element i comes from row i of the block."""
    run = bench(waves=1)
    fill(run)
    run.batch.vector[0] = np.arange(64) * 8
    run.run(f"ds_read_b64_tr_b{bits} v[10:11], v0")
    per_lane, per_row = 64 // bits, 16
    content = run.lds.data[:512]

    def number(block: int, at: int) -> int:
        """Element ``at`` of a block's 128 bytes."""
        bit = at * bits
        return int.from_bytes(content[128 * block : 128 * block + 128].tobytes(), "little") >> bit & ((1 << bits) - 1)

    for lane in range(64):
        block, column = divmod(lane, 16)
        found = int(run.batch.vector[10, 0, lane]) | int(run.batch.vector[11, 0, lane]) << 32
        wanted = sum(number(block, row * per_row + column) << bits * row for row in range(per_lane))
        assert found == wanted, lane


@pytest.mark.parametrize(("text", "formula"), [
    ("ds_add_u32 v0, v1", lambda old, given: old + given),
    ("ds_max_i32 v0, v1", lambda old, given: max(old ^ 2**31, given ^ 2**31) ^ 2**31),
    ("ds_or_b32 v0, v1", lambda old, given: old | given),
    ("ds_add_rtn_u32 v10, v0, v1", lambda old, given: old + given),
    ("ds_inc_rtn_u32 v10, v0, v1", lambda old, given: 0 if old >= given else old + 1),
    ("ds_dec_u32 v0, v1", lambda old, given: given if old == 0 or old > given else old - 1),
    ("ds_rsub_u32 v0, v1", lambda old, given: given - old),
])  # fmt: skip
def test_atomics(text: str, formula: Callable[[int, int], int], bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    content = fill(run)[:32].view("<u4").tolist()
    run.batch.vector[0] = np.arange(64) % 8 * 4
    given, wanted, returned = run.words(1), list(content), []
    for lane in range(64):
        returned.append(wanted[lane % 8])
        wanted[lane % 8] = formula(wanted[lane % 8], given[lane]) & 0xFFFFFFFF
    run.run(text)
    assert run.lds.data[:32].view("<u4").tolist() == wanted
    if "rtn" in text:
        assert run.words(10) == returned


@pytest.mark.parametrize(("name", "form", "formula"), [
    ("add_rtn_u64", "<u8", lambda old, given: (old + given) % 2**64), ("max_rtn_i64", "<i8", max), ("or_rtn_b64", "<u8", lambda old, given: old | given),
    ("wrxchg_rtn_b64", "<u8", lambda old, given: given), ("add_rtn_f64", "<f8", lambda old, given: old + given), ("min_rtn_f64", "<f8", min),
])  # fmt: skip
def test_wide_atomics(name: str, form: str, formula: Callable[[Any, Any], Any], bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    content = run.random.standard_normal(4) if form == "<f8" else run.random.integers(0, 2**62, 4).astype(form)
    given = run.random.standard_normal(64) if form == "<f8" else run.random.integers(0, 2**62, 64).astype(form)
    run.lds.data[:32] = content.astype(form).view(np.uint8)
    run.batch.vector[0] = np.arange(64) % 4 * 8
    bits = given.astype(form).view("<u8")
    run.batch.vector[2, 0], run.batch.vector[3, 0] = bits.astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32)
    wanted, returned = content.tolist(), []
    for lane in range(64):
        returned.append(wanted[lane % 4])
        wanted[lane % 4] = formula(wanted[lane % 4], given[lane].item())
    run.run(f"ds_{name} v[10:11], v0, v[2:3]")
    assert run.lds.data[:32].view(form).tolist() == wanted
    assert np.array(run.wide(10), np.uint64).view(form).tolist() == returned


def test_float_minimum_and_compare_and_store(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.batch.vector[0] = np.arange(64) * 4
    run.lds.data[:256] = np.linspace(-3, 3, 64).astype(np.float32).view(np.uint8)
    before = run.lds.data[:256].view(np.float32).copy()
    run.floats(1, 0.5)
    run.run("ds_min_rtn_f32 v10, v0, v1")
    np.testing.assert_array_equal(run.lds.data[:256].view(np.float32), np.minimum(before, np.float32(0.5)))
    np.testing.assert_array_equal(run.f32(10)[0], before)
    run.lds.data[:256] = np.arange(64, dtype=np.uint32).view(np.uint8)
    run.batch.vector[1], run.batch.vector[2] = np.arange(64) & ~1, 1000 + np.arange(64)  # compare with v1, store v2
    run.run("ds_cmpst_rtn_b32 v10, v0, v1, v2")
    assert run.lds.data[:256].view("<u4").tolist() == [1000 + at if at % 2 == 0 else at for at in range(64)]
    assert run.words(10) == list(range(64))


def test_bounds(bench: Callable[..., Any]) -> None:
    run = bench()
    run.batch.vector[0] = 4096 - 4
    run.run("ds_read_b32 v10, v0")
    with pytest.raises(OutOfBounds, match="0x1000"):
        run.run("ds_read_b32 v10, v0 offset:4")


def wave_addresses(run: Any, first: Any, second: Any) -> None:
    run.batch.vector[0, 0], run.batch.vector[0, 1] = first, second


def test_reading_what_another_wave_wrote_is_a_race(bench: Callable[..., Any]) -> None:
    own = np.arange(64) * 4
    run = bench(cell=4)
    wave_addresses(run, own, own + 256)
    run.run("ds_write_b32 v0, v1", "ds_read_b32 v10, v0")
    wave_addresses(run, own + 256, own)
    with pytest.raises(LdsRace, match=r"wave 0 reads LDS byte 0x100, which wave 1 wrote"):
        run.run("ds_read_b32 v10, v0")
    run.lds.barrier(np.array([0]), everyone=True)
    run.run("ds_read_b32 v10, v0")


def test_writing_what_another_wave_read_is_a_race(bench: Callable[..., Any]) -> None:
    own = np.arange(64) * 4
    run = bench(cell=4)
    wave_addresses(run, own, own + 256)
    run.run("ds_read_b32 v10, v0")
    wave_addresses(run, own + 256, own + 512)
    with pytest.raises(LdsRace, match=r"wave 0 writes LDS byte 0x100, which wave 1 read"):
        run.run("ds_write_b32 v0, v3")


def test_different_values_at_one_place_are_a_race_and_equal_ones_are_not(bench: Callable[..., Any]) -> None:
    run = bench(cell=4)
    wave_addresses(run, np.arange(64) * 4, np.arange(64) * 4)
    run.batch.vector[1] = np.arange(64)
    run.run("ds_write_b32 v0, v1", "ds_write_b32 v0, v1")
    run.batch.vector[1, 1, 9] = 1000
    with pytest.raises(LdsRace, match="0x24"):
        run.run("ds_write_b32 v0, v1")


def test_groups_do_not_share_lds(bench: Callable[..., Any]) -> None:
    run = bench(waves=2, groups=2)
    run.batch.vector[0] = np.arange(64) * 4
    run.run("ds_write_b32 v0, v1", "ds_read_b32 v10, v0")
    assert run.words(10) == run.words(1)


def test_direct_to_lds_bytes_arrive_with_the_wait(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.addresses(2, np.arange(64)[::-1] * 4)
    run.scalar(M0, 512)
    run.batch.vector[0] = np.arange(64) * 4 + 512
    run.run("global_load_lds_dword v[2:3], off")
    with pytest.raises(MissingWait, match="direct-to-LDS"):
        run.run("ds_read_b32 v10, v0")
    run.run("s_waitcnt vmcnt(0)", "ds_read_b32 v10, v0")
    assert run.words(10) == run.data[:256].view("<u4")[::-1].tolist()
