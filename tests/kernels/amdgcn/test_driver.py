"""The Triton driver: arguments of every kind, what is refused, and that nothing stays behind; and one fault of the compiler."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from tunefork.kernels.amdgcn.assembly import parse
from tunefork.kernels.amdgcn.driver import Driver, on_gfx950, scalar_bytes
from tunefork.kernels.amdgcn.errors import ExecutionError, LdsRace, NoProgress
from tunefork.kernels.amdgcn.executor.arguments import pack_arguments
from tunefork.kernels.amdgcn.executor.launch import Executable, Plan, Range, user_registers
from tunefork.kernels.amdgcn.executor.machine.state import POISON


@triton.jit
def arguments_kernel(o, a, b, c, d, nothing, e, FLAG: tl.constexpr):
    tl.store(o, a)
    tl.store(o + 1, b.to(tl.float32))
    tl.store(o + 2, c.to(tl.float32))
    tl.store(o + 3, d)
    tl.store(o + 4, e.to(tl.float32))
    if nothing is None:
        tl.store(o + 5, FLAG)


@triton.jit
def tuple_kernel(pointers, sizes, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(pointers[0] + i, mask=i < sizes[0], other=0)
    tl.store(pointers[1] + i, x + sizes[1], mask=i < sizes[0])


@triton.jit
def grid_kernel(o, X, Y):
    x, y, z = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    tl.store(o + x + X * (y + Y * z), x + 100 * y + 10000 * z)


@triton.jit
def extents_kernel(o):
    if (tl.program_id(0) == 1) & (tl.program_id(1) == 2) & (tl.program_id(2) == 0):
        tl.store(o, tl.num_programs(0))
        tl.store(o + 1, tl.num_programs(1))
        tl.store(o + 2, tl.num_programs(2))


@triton.jit
def shared_result_kernel(counters, o, N: tl.constexpr, R: tl.constexpr):
    i, r = tl.arange(0, N), tl.arange(0, R)
    before = tl.atomic_add(counters + i, 1)
    tl.store(o + r[:, None] * N + i[None, :], tl.where((r >= 0)[:, None], before[None, :], 0))


def test_scalars_of_every_kind() -> None:
    o = torch.full((8,), float("nan"))
    with on_gfx950() as device:
        arguments_kernel[(1,)](o, 1.5, -7, 2**40, 0.1, None, True, FLAG=9.0)
    assert o[:6].tolist() == [1.5, -7.0, 2.0**40, pytest.approx(0.1, rel=1e-7), 1.0, 9.0]
    assert device.launches[0].name == "arguments_kernel"


@pytest.mark.parametrize(("kind", "value", "wanted"), [
    ("i32", -1, b"\xff\xff\xff\xff"), ("i32", 2**32 - 1, b"\xff\xff\xff\xff"), ("u64", 2**64 - 1, b"\xff" * 8), ("i1", True, b"\x01"),
    ("fp32", 1.0, b"\x00\x00\x80\x3f"), ("bf16", 1.0, b"\x80\x3f"), ("fp16", 1.0, b"\x00\x3c"), ("i8", -2, b"\xfe"),
])  # fmt: skip
def test_scalar_layout(kind: str, value: float, wanted: bytes) -> None:
    assert scalar_bytes(kind, value) == wanted


def test_tuples_are_taken_apart() -> None:
    x, y = torch.arange(16, dtype=torch.int32), torch.zeros(16, dtype=torch.int32)
    with on_gfx950():
        tuple_kernel[(1,)]((x, y), (10, 5), BLOCK=16)
    assert y.tolist() == [*range(5, 15), *[0] * 6]


@pytest.mark.parametrize("lockstep", [True, False])
def test_three_dimensional_grids(lockstep: bool) -> None:
    o = torch.full((5 * 3 * 2,), -1, dtype=torch.int32)
    with on_gfx950(resident_waves=7, lockstep=lockstep):
        grid_kernel[(5, 3, 2)](o, 5, 3)
    assert o.tolist() == [x + 100 * y + 10000 * z for z in range(2) for y in range(3) for x in range(5)]


def test_a_program_knows_how_many_there_are() -> None:
    o = torch.full((3,), -1, dtype=torch.int32)
    with on_gfx950():
        extents_kernel[(5, 3, 2)](o)
    assert o.tolist() == [5, 3, 2]


def test_slices_are_written_in_place() -> None:
    whole = torch.full((100,), -1, dtype=torch.int32)
    with on_gfx950():
        grid_kernel[(4,)](whole[50:], 4, 1)
    assert whole[50:54].tolist() == [0, 1, 2, 3] and (whole[:50] == -1).all() and (whole[54:] == -1).all()


def test_an_empty_grid_launches_nothing() -> None:
    with on_gfx950() as device:
        grid_kernel[(0, 1, 1)](torch.zeros(1, dtype=torch.int32), 1, 1)
    assert device.launches == []


def test_the_driver_before_comes_back() -> None:
    config = triton.runtime.driver
    before = config._active
    with pytest.raises(RuntimeError), on_gfx950():
        assert isinstance(config.active, Driver)
        raise RuntimeError
    assert config._active is before


@pytest.mark.skipif(torch.cuda.is_available(), reason="outside the block this machine's GPU is active")
def test_outside_the_block_nothing_runs_and_kernels_can_be_let_go() -> None:
    with on_gfx950():
        grid_kernel[(1,)](torch.zeros(1, dtype=torch.int32), 1, 1)
    assert triton.runtime.driver.active.utils.unload_module(object()) is None
    with pytest.raises(RuntimeError, match="no Triton driver is active"):
        grid_kernel[(1,)](torch.zeros(1, dtype=torch.int32), 1, 1)


def test_no_time_is_given() -> None:
    with on_gfx950(), pytest.raises(ExecutionError, match="nothing about time"):
        triton.runtime.driver.active.get_benchmarker()


def test_only_cpu_tensors() -> None:
    with on_gfx950(), pytest.raises(ExecutionError, match="the executor reads CPU tensors"):
        grid_kernel[(1,)](torch.zeros(4, dtype=torch.int32, device="meta"), 1, 1)


def test_a_result_that_other_waves_lack_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton 3.7.1 hands the old value of a buffer atomic only to the threads that did it; replicas of the layout then
    write something else to the same LDS bytes. With global atomics the value is shared. Never may it pass in silence.
    """
    wanted = (torch.arange(16, dtype=torch.int32) + 100).expand(64, 16)

    def run() -> torch.Tensor:
        counters, o = torch.arange(16, dtype=torch.int32) + 100, torch.full((64, 16), -1, dtype=torch.int32)
        with on_gfx950():
            shared_result_kernel[(1,)](counters, o, N=16, R=64)
        return o

    if triton.__version__.startswith("3.7."):
        with pytest.raises(LdsRace, match="ds_write_b32"):
            run()
    else:
        with contextlib.suppress(LdsRace):
            assert torch.equal(run(), wanted)
    monkeypatch.setenv("AMDGCN_USE_BUFFER_OPS", "0")
    shared_result_kernel.device_caches.clear()
    try:
        assert torch.equal(run(), wanted)
    finally:
        shared_result_kernel.device_caches.clear()


HEAD = '\t.amdgcn_target "amdgcn-amd-amdhsa--gfx950"\nk:\n'
TAIL = """
\t.amdhsa_kernel k
\t\t.amdhsa_kernarg_size 16
\t\t.amdhsa_user_sgpr_count 8
\t\t.amdhsa_user_sgpr_kernarg_segment_ptr 1
\t\t.amdhsa_user_sgpr_kernarg_preload_length {preload}
\t\t.amdhsa_user_sgpr_kernarg_preload_offset 1
\t\t.amdhsa_next_free_vgpr 8
\t\t.amdhsa_uses_dynamic_stack {stack}
\t\t.amdhsa_float_denorm_mode_32 {denormals}
\t.end_amdhsa_kernel
.Lfunc_end0:
\t.amdgpu_metadata
        .offset:         0
        .size:           8
        .value_kind:     global_buffer
        .offset:         8
        .size:           4
        .value_kind:     by_value
    .private_segment_fixed_size: {scratch}
"""


def text(body: str = "\ts_endpgm\n", *, preload: int = 0, denormals: int = 3, scratch: int = 0, stack: int = 0) -> str:
    return HEAD + body + TAIL.format(preload=preload, denormals=denormals, scratch=scratch, stack=stack)


def test_kernel_arguments_and_preloaded_registers() -> None:
    program = parse(text(preload=2))
    plan = Plan(grid=(1, 1, 1), waves=1, lds=0)
    segment = pack_arguments(program, [(0x1122334455667788).to_bytes(8, "little"), b"\x01\x02\x03\x04"], plan)
    assert segment == bytes.fromhex("8877665544332211 01020304 00000000")
    words = user_registers(program, segment)
    assert words[2:4] == [0x11223344, 0x04030201] and words[4:] == [POISON] * 4 and words[1] == 0x7E00
    with pytest.raises(ExecutionError, match="byte 8 has 4 bytes, not 8"):
        pack_arguments(program, [b"\0" * 8, b"\0" * 8], plan)
    with pytest.raises(ExecutionError, match="takes 2 arguments, 3 came"):
        pack_arguments(program, [b"\0" * 8, b"\0" * 4, b"\0"], plan)


def hidden(*kinds: tuple[str, int], at: int = 16) -> str:
    """Metadata of hidden arguments, from byte ``at`` on: (kind, bytes)."""
    lines, offset = [], at
    for kind, size in kinds:
        offset += -offset % min(size, 8)
        lines.append(f"        .offset: {offset}\n        .size: {size}\n        .value_kind: hidden_{kind}\n")
        offset += size
    return "".join(lines)


FIVE = [("block_count_x", 4), ("block_count_y", 4), ("block_count_z", 4), ("group_size_x", 2), ("group_size_y", 2), ("group_size_z", 2),
        ("remainder_x", 2), ("remainder_y", 2), ("remainder_z", 2), ("none", 16), ("global_offset_x", 8), ("global_offset_y", 8),
        ("global_offset_z", 8), ("grid_dims", 2), ("hostcall_buffer", 8), ("dynamic_lds_size", 4)]  # fmt: skip


def with_hidden(body: str, size: int = 128) -> str:
    plain = text(body).replace(".amdhsa_kernarg_size 16", f".amdhsa_kernarg_size {size}")
    return plain.replace("    .private_segment_fixed_size", hidden(*FIVE) + "    .private_segment_fixed_size")


def test_hidden_arguments_tell_the_launch() -> None:
    """Code object version 5: what a kernel may ask of its own launch, for 3 x 2 work-groups of 128 work-items."""
    program = parse(with_hidden("\ts_endpgm\n"))
    segment = pack_arguments(program, [b"\0" * 8, b"\0" * 4], Plan(grid=(3, 2, 1), waves=2, lds=4096))
    assert struct.unpack_from("<3I6H", segment, 16) == (3, 2, 1, 128, 1, 1, 0, 0, 0)
    assert struct.unpack_from("<3QH", segment, 56) == (0, 0, 0, 3) and struct.unpack_from("<I", segment, 96) == (4096,)


def test_a_hidden_argument_without_a_value_is_refused_when_it_is_read() -> None:
    from tunefork.kernels.amdgcn.executor.launch import launch

    plan, values = Plan(grid=(1, 1, 1), waves=1, lds=0), [b"\0" * 8, b"\0" * 4]
    for words, wanted in (("x2 s[4:5], s[0:1], 0x58", "hidden_hostcall_buffer"), ("x4 s[4:7], s[0:1], 0x50", "hidden_hostcall_buffer")):
        with pytest.raises(ExecutionError, match=rf"s_load_dword.*{wanted}.*has no value here"):
            launch(Executable.load(parse(with_hidden(f"\ts_load_dword{words}\n\ts_endpgm\n"))), plan, values, [])
    strange = with_hidden("\ts_load_dword s4, s[0:1], 0x60\n\ts_endpgm\n").replace("hidden_dynamic_lds_size", "hidden_of_tomorrow")
    with pytest.raises(ExecutionError, match="hidden_of_tomorrow"):
        launch(Executable.load(parse(strange)), plan, values, [])
    assert launch(Executable.load(parse(strange.replace("0x60", "0x10"))), plan, values, []).instructions == 2


def test_an_explicit_argument_that_did_not_come_is_refused() -> None:
    with pytest.raises(ExecutionError, match="takes 2 arguments, 1 came"):
        pack_arguments(parse(text()), [b"\0" * 8], Plan(grid=(1, 1, 1), waves=1, lds=0))


@pytest.mark.parametrize(("changes", "message"), [({"denormals": 1}, "sets float_denorm_mode_32 to 1; the executor has only 3 and 0"), ({"stack": 1}, "dynamic stack")])
def test_modes_that_the_executor_lacks_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ExecutionError, match=message):
        Executable.load(parse(text(**changes)))


def test_residencies_cover_the_grid_once_in_random_order() -> None:
    plan = Plan(grid=(7, 3, 2), waves=4, lds=0, resident_waves=40, seed=5)
    parts = plan.residencies()
    assert [len(part) for part in parts] == [10, 10, 10, 10, 2]
    numbers = [tuple(row) for part in parts for row in part.tolist()]
    assert sorted(numbers) == [(x, y, z) for x in range(7) for y in range(3) for z in range(2)] != numbers
    other = Plan(grid=(7, 3, 2), waves=4, lds=0, resident_waves=40, seed=6).residencies()
    assert [tuple(row) for part in other for row in part.tolist()] != numbers


def test_a_barrier_that_some_waves_never_reach() -> None:
    """Waves that end are not waited for; waves that wait elsewhere for good are."""
    from tunefork.kernels.amdgcn.executor.launch import launch

    ends = "\tv_readfirstlane_b32 s4, v0\n\ts_cmp_lg_u32 s4, 0\n\ts_cbranch_scc1 .Lout\n\ts_barrier\n.Lout:\n\ts_endpgm\n"
    plan, given = Plan(grid=(3, 1, 1), waves=2, lds=64, most_steps=1000), [b"\0" * 8, b"\0" * 4]
    assert launch(Executable.load(parse(text(ends))), plan, given, []).instructions == 3 * (5 + 4)
    spins = ends.replace(".Lout:", "\ts_endpgm\n.Lout:\n\ts_branch .Lout")
    with pytest.raises(NoProgress, match="still running"):
        launch(Executable.load(parse(text(spins))), plan, given, [])


@pytest.mark.parametrize(("axes", "wanted"), [(0, lambda x, y, z: x), (1, lambda x, y, z: x | y << 10), (2, lambda x, y, z: x | y << 10 | z << 20)])
def test_work_item_ids_are_packed_in_one_register(axes: int, wanted: Callable[[int, int, int], int]) -> None:
    """A block of 5 x 4 x 3 work-items: v0 holds x, y from bit 10, z from bit 20; the last wave's spare lanes are off."""
    from tunefork.kernels.amdgcn.executor.launch import launch

    body = "\tv_lshlrev_b32_e32 v1, 2, v2\n\tglobal_store_dword v1, v0, s[4:5]\n\ts_endpgm\n"
    counting = "\tv_mbcnt_lo_u32_b32 v2, -1, 0\n\tv_mbcnt_hi_u32_b32 v2, -1, v2\n"
    source = text("\ts_load_dwordx2 s[4:5], s[0:1], 0x0\n\ts_waitcnt lgkmcnt(0)\n" + counting + body)
    program = parse(source.replace("\t\t.amdhsa_kernarg_size", f"\t\t.amdhsa_system_vgpr_workitem_id {axes}\n\t\t.amdhsa_kernarg_size"))
    memory = np.full(64, 0xFFFFFFFF, np.uint32)
    plan = Plan(grid=(1, 1, 1), waves=1, lds=0, block=(5, 4, 3))
    ranges = [Range(0x20000, memory.view(np.uint8), "ids")]
    launch(Executable.load(program), plan, [(0x20000).to_bytes(8, "little"), b"\0" * 4], ranges)
    assert memory[:60].tolist() == [wanted(x, y, z) for z in range(3) for y in range(4) for x in range(5)]
    assert (memory[60:] == 0xFFFFFFFF).all()


SPILL = """\ts_load_dwordx2 s[4:5], s[0:1], 0x0
\ts_mov_b32 s6, 4
\tscratch_store_dword off, v0, s6 offset:8
\tv_mov_b32_e32 v1, 4
\tv_lshlrev_b32_e32 v2, 2, v0
\tv_mov_b32_e32 v0, 0
\tscratch_load_dword v3, v1, off offset:8
\ts_waitcnt vmcnt(0) lgkmcnt(0)
\tglobal_store_dword v2, v3, s[4:5]
\ts_endpgm
"""


@pytest.mark.parametrize("lockstep", [True, False])
def test_every_lane_has_its_own_scratch_memory(lockstep: bool) -> None:
    from tunefork.kernels.amdgcn.executor.launch import launch

    memory = np.full(128, 0xFFFFFFFF, np.uint32)
    plan, ranges = Plan(grid=(1, 1, 1), waves=2, lds=0, lockstep=lockstep), [Range(0x20000, memory.view(np.uint8), "out")]
    values = [(0x20000).to_bytes(8, "little"), b"\0" * 4]
    launch(Executable.load(parse(text(SPILL, scratch=16))), plan, values, ranges)
    assert memory.tolist() == list(range(128))
    for size in (8, 12, 15):
        with pytest.raises(ExecutionError, match=rf"scratch_store_dword.*scratch bytes 0xc..0x10 of {size:#x}"):
            launch(Executable.load(parse(text(SPILL, scratch=size))), plan, values, ranges)
    with pytest.raises(ExecutionError, match="gives it no scratch memory"):
        launch(Executable.load(parse(text(SPILL))), plan, values, ranges)


FLOATS = """\ts_load_dwordx2 s[4:5], s[0:1], 0x0
\tv_lshlrev_b32_e32 v1, 2, v0
\ts_waitcnt lgkmcnt(0)
\tglobal_load_dword v2, v1, s[4:5]
\ts_waitcnt vmcnt(0)
\t{line}
\tglobal_store_dword v1, v3, s[4:5]
\ts_endpgm
"""


@pytest.mark.parametrize(("line", "flushed"), [
    ("v_add_f32_e32 v3, 0, v2", [0.0, 0.0, 1.0]), ("v_mul_f32_e32 v3, 0.5, v2", [0.0, -0.0, 0.5]), ("v_max_f32_e32 v3, v2, v2", [0.0, -0.0, 1.0]),
    ("v_mov_b32_e32 v3, v2", [1e-40, -1e-40, 1.0]), ("v_mul_f32_e64 v3, -v2, 1.0", [-0.0, 0.0, -1.0]),
])  # fmt: skip
def test_denormals_are_flushed_where_the_kernel_asks_for_it(line: str, flushed: list[float]) -> None:
    from tunefork.kernels.amdgcn.executor.launch import launch

    plan, values = Plan(grid=(1, 1, 1), waves=1, lds=0), [(0x20000).to_bytes(8, "little"), b"\0" * 4]
    found = []
    for mode in (0, 3):
        memory = np.resize(np.array([1e-40, -1e-40, 1.0], np.float32), 64)
        launch(Executable.load(parse(text(FLOATS.format(line=line), denormals=mode))), plan, values, [Range(0x20000, memory.view(np.uint8), "x")])
        found.append(memory[:3].copy())
    np.testing.assert_array_equal(found[0].view(np.uint32), np.array(flushed, np.float32).view(np.uint32))
    assert "mov" in line or found[0].tobytes() != found[1].tobytes()


def test_what_does_not_know_flushed_denormals_is_refused() -> None:
    switch = text("\ts_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 2), 3\n\ts_endpgm\n", denormals=0)
    with pytest.raises(ExecutionError, match="s_setreg_imm32_b32.*this mode change has no meaning"):
        Executable.load(parse(switch))
    with pytest.raises(ExecutionError, match="v_cvt_pk_bf16_f32.*where f32 denormals are flushed"):
        Executable.load(parse(text("\tv_cvt_pk_bf16_f32 v0, v1, v2\n\ts_endpgm\n", denormals=0)))
