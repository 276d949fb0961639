"""Faults to put into the executor, at least three for each family of instructions, one line of its source each; and the running of a test with one.

The executor is imported anew with the changed line, in this process, and the project's own test runs against it.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGE = "tunefork.kernels.amdgcn"
HERE = Path(__file__).resolve().parent
CONFTEST = HERE.parent / "conftest.py"


@dataclass(frozen=True)
class Fault:
    """One change of the executor's source that a test must see.

    family: the instructions that it belongs to.  module: below ``executor``.  before, after: text that is there once, and what replaces it.
    does: in words.  seen_by: ``file::function`` below tests/kernels/amdgcn, which fails with it.
    told_by: a pattern of the instructions whose comparison with AMD's pseudo-code fails, "" where the document tells nothing of it.
    """

    family: str
    module: str
    before: str
    after: str
    does: str
    seen_by: str
    told_by: str = ""

    def __str__(self) -> str:
        return f"{self.family}: {self.does}"


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module with another source."""

    def __init__(self, name: str, source: str, path: str) -> None:
        self.name, self.source, self.path = name, source, path

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def changed_source(fault: Fault) -> tuple[str, str, str]:
    """(module name, its source with the fault, its path). Errors: AssertionError where the text to change is not there once."""
    name = f"{PACKAGE}.executor.{fault.module}"
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text()
    assert source.count(fault.before) == 1, f"{fault.module} has {source.count(fault.before)} times, not once: {fault.before}"
    return name, source.replace(fault.before, fault.after), spec.origin


def ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


@contextmanager
def seeded(fault: Fault) -> Iterator[None]:
    """The package imported anew with the fault in it; afterwards what was imported before is there again."""
    name, source, path = changed_source(fault)
    parent = sys.modules[PACKAGE.rpartition(".")[0]]
    kept, attribute = {known: sys.modules.pop(known) for known in list(sys.modules) if ours(known)}, parent.amdgcn
    finder = Changed(name, source, path)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for known in [known for known in sys.modules if ours(known)]:
            del sys.modules[known]
        sys.modules.update(kept)
        parent.amdgcn = attribute


def fresh(path: Path) -> ModuleType:
    """A module of its own, run against what is importable now."""
    spec = importlib.util.spec_from_file_location(f"seeded_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[module.__name__]
    return module


def arguments(function: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The arguments that a test's marks give it, one dictionary for each of its cases."""
    axes = []
    for mark in getattr(function, "pytestmark", []):
        if mark.name == "parametrize":
            names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else list(mark.args[0])
            axes.append([dict(zip(names, case if len(names) > 1 else (case,), strict=True)) for case in mark.args[1]])
    for chosen in itertools.product(*axes):
        yield {name: value for part in chosen for name, value in part.items()}


def failure(check: str) -> BaseException | None:
    """Run every case of a test, ``file::function``, with this folder's fixtures: the first exception, or None where all hold."""
    file, _, name = check.partition("::")
    fixtures = fresh(CONFTEST)
    given = {"bench": fixtures.Bench, "special": {"exec": fixtures.EXEC, "vcc": fixtures.VCC, "m0": fixtures.M0, "base": fixtures.BASE}}
    function = getattr(fresh(HERE.parent / file), name)
    wanted = inspect.signature(function).parameters
    for case in arguments(function):
        fixed = {name: given[name] for name in wanted if name not in case}
        try:
            function(**case, **fixed)
        except (Exception, pytest.fail.Exception) as error:
            return error
    return None


ROWS: dict[str, list[tuple[str, str, str, str, str, str]]] = {
    # family: (module, text there, text instead, what it does, test that sees it, instructions by which AMD's pseudo-code tells it)
    "VALU, integer": [
        ("isa.integer", 'wide(a) * wide(b)) >> U64(32)).astype(U32)),\n        "v_mul_hi_i32"', 'wide(a) * wide(b)) >> U64(31)).astype(U32)),\n        "v_mul_hi_i32"',
         "v_mul_hi_u32 takes bit 31 on", "executor/test_valu.py::test_integer", r"v_mul_hi_u32\b"),
        ("isa.integer", "(field ^ sign) - sign", "field | sign", "v_bfe_i32 sets the sign bit alone", "executor/test_valu.py::test_integer", r"v_bfe_i32"),
        ("isa.integer", "np.where(select == 12, U64(0), U64(0xFF))", "np.where(select == 13, U64(0), U64(0xFF))",
         "v_perm_b32 gives 0 for selector 13, not 12", "executor/test_valu.py::test_integer", r"v_perm_b32"),
        ("isa.integer", "return np.where(a < b, U32(0), a - b)", "return a - b", "v_sub_u32 clamp wraps", "executor/test_valu.py::test_integer", ""),
        ("isa.lane_masks", "(total < 0) | (total > 0xFFFFFFFF)", "total > 0xFFFFFFFF", "v_sub_co_u32 has no borrow", "executor/test_valu.py::test_high_carry_of_a_wide_add",
         r"v_sub(rev|brev|b)?_co_u32"),
    ],
    "VALU, f32 and f16": [
        ("isa.floating", "return np.asarray(rounded_to_odd(product, addend).astype(F32))", "return np.asarray(result)", "v_fma_f32 rounds twice on a tie",
         "executor/test_ieee.py::test_f32_and_f16_multiply_add_are_rounded_once", r"v_fma_f32"),
        ("isa.floating", "extreme(np.fmin, operator.or_), extreme(np.fmax, operator.and_)", "extreme(np.fmin, operator.and_), extreme(np.fmax, operator.and_)",
         "v_min_f32 of the two zeros is +0", "executor/test_ieee.py::test_minimum_and_maximum", r"v_min_f32"),
        ("isa.floating", "result = np.where(is_signalling(a), quieted(a), result)", "pass", "a signalling NaN as first source is ignored by v_max_f32",
         "executor/test_ieee.py::test_minimum_and_maximum", r"v_max_f32"),
        ("isa.valu", 'if "mul" in modifiers else 0.5', 'if "mul" in modifiers else 0.25', "div:2 divides by four", "executor/test_valu.py::test_floating", ""),
        ("isa.floating", "bounded = np.clip(np.trunc(double(value)), low, high)", "bounded = np.clip(np.rint(double(value)), low, high)",
         "v_cvt_i16_f16 rounds to nearest", "executor/test_ieee.py::test_conversions_and_packing_of_halves", r"v_cvt_i16_f16"),
    ],
    "VALU, f64": [
        ("isa.floating", "outer + rounded_to_odd(inner_rest, outer_rest)", "outer + (inner_rest + outer_rest)", "v_fma_f64 rounds twice",
         "executor/test_ieee.py::test_f64_multiply_add_is_rounded_once", r"v_fma_f64"),
        ("isa.floating", "MOST_POWER = 4000", "MOST_POWER = 1023", "v_ldexp_f64 clips its power", "executor/test_ieee.py::test_f64_powers_of_two_reach_every_exponent",
         r"v_ldexp_f64"),
        ("isa.lane_masks", "Division(768, 53, 128, 1023)", "Division(768, 53, 64, 1023)", "v_div_scale_f64 scales by 2^64",
         "executor/test_ieee.py::test_division_scales_by_the_power_that_the_document_names", r"v_div_scale_f64"),
        ("machine.state", "high = registers[index + 1].astype(np.uint64) << np.uint64(32)", "high = registers[index].astype(np.uint64) << np.uint64(32)",
         "the high word of a register pair is the low one", "executor/test_ieee.py::test_f64_parts", r"v_frexp_mant_f64"),
    ],
    "compare, class, select": [
        ("isa.lane_masks", '"nge": lambda a, b: ~(a >= b)', '"nge": lambda a, b: a < b', "v_cmp_nge_f32 is ordered: NaN gives 0",
         "executor/test_compare.py::test_float_comparison", r"v_cmp_nge_f"),
        ("isa.lane_masks", "bits = function(first(batch), second(batch)) & batch.active", "bits = function(first(batch), second(batch)) | ~batch.active",
         "v_cmp sets the bits of inactive lanes", "executor/test_compare.py::test_inactive_lanes_compare_false_and_cmpx_narrows", ""),
        ("isa.lane_masks", "np.uint32(1), np.uint32(0))\n    bits", "np.uint32(0), np.uint32(1))\n    bits", "v_cmp_class_f32 takes a quiet NaN for a signalling one",
         "executor/test_ieee.py::test_classes_tell_the_two_kinds_of_nan", r"v_cmp_class_f(16|32)"),
        ("isa.lane_masks", "np.where(bits, as_words(chosen(batch)), as_words(clear(batch)))", "np.where(bits, as_words(clear(batch)), as_words(chosen(batch)))",
         "v_cndmask_b32 takes the other source", "executor/test_compare.py::test_select_takes_the_second_source_where_the_bit_is_set", r"v_cndmask_b32"),
    ],
    "DPP": [
        ("isa.dpp", "(place >= 0) & (place < 16)", "(place >= 0) & (place <= 16)", "row_shl reads past its row", "executor/test_crosslane.py::test_dpp_control", ""),
        ("isa.dpp", "(ROW * 16 - 1, ROW > 0)", "(ROW * 16, ROW > 0)", "row_bcast:15 reads its own row", "executor/test_crosslane.py::test_dpp_control", ""),
        ("isa.dpp", "(banks >> (IN_ROW // 4)) & 1", "(banks >> (IN_ROW % 4)) & 1", "bank_mask counts lanes of a quad", "executor/test_crosslane.py::test_dpp_masks_and_inactive_sources",
         ""),
        ("isa.dpp", "written if move.zero_fill else written & usable", "written & usable", "bound_ctrl keeps the old value", "executor/test_crosslane.py::test_dpp_control", ""),
    ],
    "lane moves": [
        ("isa.crosslane", "lane = np.argmax(batch.active, axis=1)", "lane = 63 - np.argmax(batch.active[:, ::-1], axis=1)", "v_readfirstlane_b32 reads the last active lane",
         "executor/test_crosslane.py::test_reading_and_writing_one_lane", ""),
        ("isa.crosslane", "mine[:, high] = other[:, low]", "mine[:, high] = other[:, high]", "v_permlane16_swap_b32 swaps rows of the same number",
         "executor/test_crosslane.py::test_permlane_swap", ""),
        ("isa.ds", "np.where(batch.active[rows, lane], value[rows, lane], np.uint32(0))", "value[rows, lane]", "ds_bpermute_b32 reads inactive lanes",
         "executor/test_crosslane.py::test_pull_and_push_through_lds_hardware", ""),
        ("isa.ds", "quad([(value >> 2 * at) & 3 for at in range(4)])", "quad([(value >> 2 * (3 - at)) & 3 for at in range(4)])", "ds_swizzle_b32 reads a quad backwards",
         "executor/test_crosslane.py::test_swizzle", ""),
    ],
    "packed, op_sel": [
        ("isa.packed", '("op_sel_hi", "neg_hi", 1)', '("op_sel_hi", "neg_lo", 1)', "neg_hi is not seen", "executor/test_packed.py::test_packed_f32_halves_and_signs", ""),
        ("isa.packed", "low, high = half_of(operands[1], low_half), half_of(operands[2], high_half)", "low, high = half_of(operands[1], low_half), half_of(operands[2], low_half)",
         "v_pk_mov_b32 picks both halves by one bit", "executor/test_packed.py::test_packed_move", r"v_pk_mov_b32"),
        ("isa.packed", '{"v_fma_mixlo_f16": 0, "v_fma_mixhi_f16": 16}', '{"v_fma_mixlo_f16": 16, "v_fma_mixhi_f16": 0}', "v_fma_mixlo_f16 writes the high half",
         "executor/test_packed.py::test_mixed_fma_into_one_half", ""),
        ("isa.packed", "row >> (2 - bit) & 1", "row >> bit & 1", "v_bitop3_b32 reads its table with the last source first", "executor/test_valu.py::test_integer", r"v_bitop3_b32"),
    ],
    "SALU and SCC": [
        ("isa.salu", "a + b + carry", "a + b", "s_addc_u32 forgets SCC", "executor/test_salu.py::test_carry_chain_adds_64_bits", r"s_addc_u32"),
        ("isa.scalar_operations", '"s_max_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (np.maximum(a, b), a >= b)',
         '"s_max_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (np.maximum(a, b), a > b)', "SCC of s_max_i32 is 0 for equal sources",
         "executor/test_salu.py::test_two_sources", r"s_max_i32"),
        ("isa.scalar_operations", "return total.astype(np.int32), total != total.astype(np.int32)\n\n\ndef subtract_signed", "return total.astype(np.int32), total >> 32 != 0\n\n\ndef subtract_signed",
         "SCC of s_add_i32 is the carry, not the overflow", "executor/test_salu.py::test_two_sources", r"s_add_i32"),
        ("isa.salu", "batch.scc = np.broadcast_to(after != 0, batch.waves).copy()", "pass", "s_and_saveexec_b64 leaves SCC", "executor/test_salu.py::test_saveexec_saves_and_narrows",
         r"s_(and|or|xor|andn2)_saveexec_b64"),
        ("isa.salu", 'instruction.base.endswith("i32")\n    if signed', 'True\n    if signed', "s_cmpk_lt_u32 extends its constant by the sign",
         "executor/test_salu.py::test_comparisons", r"s_cmpk_l[te]_u32"),
    ],
    "narrow conversions": [
        ("isa.convert", "np.uint32(8 * (select[0] + 2 * select[1])", "np.uint32(8 * (select[1] + 2 * select[0])", "v_cvt_scalef32_pk_f32_fp4 picks byte 2 for 1",
         "executor/test_convert.py::test_scaled_decode", r"v_cvt_scalef32_pk_\w+_fp4 .*op_sel"),
        ("isa.narrow", "np.where(upper % 2 == 0, upper, upper - 1)", "upper", "a tie is rounded up, not to even", "executor/test_convert.py::test_encode_fp4",
         r"v_cvt_scalef32_pk_fp4_"),
        ("isa.narrow", "np.where(bits == 0, np.uint32(0x00400000), np", "np.where(bits == 0, np.uint32(0), np", "a scale of byte 0 is 0, not 2^-127",
         "executor/test_convert.py::test_scale_extremes", r"v_cvt_scalef32_pk_\w+_(fp4|fp8)"),
        ("isa.narrow", "np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))", "np.uint32(0x8000)", "v_cvt_pk_bf16_f32 rounds ties up",
         "executor/test_convert.py::test_bf16_rounding_like_torch", r"v_cvt_pk_bf16_f32"),
        ("isa.convert", "narrow.encode(value, fmt, saturate=batch.saturate)", "narrow.encode(value, fmt, saturate=False)", "v_cvt_pk_fp8_f32 does not know MODE.FP16_OVFL",
         "executor/test_convert.py::test_overflow_obeys_the_mode", ""),
    ],
    "MFMA": [
        ("isa.mfma", "reshape(waves, 4, 2, 4, 32).transpose(1, 3, 0, 2, 4)", "reshape(waves, 2, 4, 4, 32).transpose(2, 3, 0, 1, 4)",
         "rows of a 32x32 result in another order", "executor/test_mfma.py::test_dense", ""),
        ("isa.mfma", "low[0] + 2 * high[0]", "high[0] + 2 * low[0]", "op_sel picks another byte of the scales", "executor/test_mfma.py::test_scaled", ""),
        ("isa.mfma", "if shape.mixed and ELEMENT_BITS[fmt] == 8:", "if False:", "8-bit operands of f8f6f4 hold K without the two halves", "executor/test_mfma.py::test_scaled", ""),
        ("isa.mfma", "(chosen if size else 0)", "0", "cbsz gives block 0 to all, whatever abid says", "executor/test_mfma.py::test_sixteen_blocks_of_four", ""),
        ("isa.mfma", "block = narrow.scale_value(octet).reshape(batch.waves, 1, shape.groups, size).transpose(0, 1, 3, 2)",
         "block = narrow.scale_value(octet).reshape(batch.waves, 1, size, shape.groups)", "scales go to neighbouring lanes", "executor/test_mfma.py::test_scaled", ""),
    ],
    "LDS": [
        ("isa.ds", "unit = size * (64 if stride else 1)", "unit = size * (32 if stride else 1)", "ds_read2st64_b32 counts in 32 elements", "executor/test_lds.py::test_two_places_at_once", ""),
        ("isa.ds", "reshape(waves, 4, count, 16).transpose(0, 1, 3, 2)", "reshape(waves, 4, 16, count)", "ds_read_b64_tr_b16 transposes nothing",
         "executor/test_lds.py::test_transposing_read", ""),
        ("machine.local_memory", "offset = access.address + (access.group * self.size)[:, None]", "offset = access.address + 0", "work-groups share their LDS",
         "executor/test_lds.py::test_groups_do_not_share_lds", ""),
        ("machine.local_memory", "foreign = (seen != 0) & (seen != cells.code) & (seen != SEVERAL)", "foreign = seen > SEVERAL", "a read of what another wave wrote is no race",
         "executor/test_lds.py::test_reading_what_another_wave_wrote_is_a_race", ""),
        ("machine.registers", "(row[lanes] & np.uint32(0xFFFF)) | (value << np.uint32(16))", "value << np.uint32(16)",
         "ds_read_u16_d16_hi clears the low half", "executor/test_lds.py::test_halves_of_a_register", ""),
    ],
    "global, flat, buffer": [
        ("machine.registers", '"sbyte": Part(1, signed=True)', '"sbyte": Part(1)', "global_load_sbyte extends by zero", "executor/test_vmem.py::test_narrow_loads", r"global_load_sbyte "),
        ("isa.vmem", "start = batch.pairs[:, pair, None] + offset", "start = batch.pairs[:, pair, None]", "the constant offset beside a scalar base is lost",
         "executor/test_vmem.py::test_wide_load_from_a_scalar_base_in_active_lanes", ""),
        ("isa.vmem", "inside = offset <= last", "inside = offset - np.broadcast_to(extra(batch), batch.waves)[:, None].astype(np.int64) <= last", "num_records is compared without the scalar offset",
         "executor/test_vmem.py::test_buffer_range_check", ""),
        ("isa.vmem", 'batch.counters.issue_lgkm(Outstanding("scalar", operation.registers))', "pass", "flat_load_dword is on one counter only",
         "executor/test_vmem.py::test_flat_loads_are_on_both_counters", ""),
        ("machine.global_memory", "self.size > 1 and (offset & (self.size - 1)).any()", "False", "an access between two whole items takes the first",
         "executor/test_vmem.py::test_accesses_at_any_byte", ""),
        ("machine.global_memory", "(address <= np.uint64(buffer.end - size))", "(address <= np.uint64(buffer.end))", "the last bytes of an access may lie past the buffer",
         "executor/test_vmem.py::test_lanes_may_go_to_several_buffers_but_no_access_to_two", ""),
    ],
    "scratch": [
        ("isa.scratch", "place += batch.scalar[:, scalar.index, None]", "pass", "the scalar offset is lost", "test_driver.py::test_every_lane_has_its_own_scratch_memory", ""),
        ("isa.scratch", "batch.group * batch.machine.waves + batch.wave", "batch.group", "waves of a work-group share their scratch",
         "test_driver.py::test_every_lane_has_its_own_scratch_memory", ""),
        ("machine.scratch", "int(mine.max()) + size > self.size", "int(mine.max()) > self.size", "an access may end past the private memory",
         "test_driver.py::test_every_lane_has_its_own_scratch_memory", ""),
    ],
    "atomics": [
        ("isa.atomics", "np.where((old == 0) | (old > given), given, old - 1)", "np.where(old == 0, given, old - 1)", "ds_dec_u32 does not wrap above its limit",
         "executor/test_lds.py::test_atomics", r"(ds_dec_(rtn_)?u32|global_atomic_dec )"),
        ("isa.atomics", "if len(np.unique(offset)) == len(offset):", "if True:", "lanes with one address count once", "executor/test_vmem.py::test_atomic_add_returns_each_old_value", ""),
        ("isa.atomics", "new = np.where(old == wanted, new, old)", "pass", "global_atomic_cmpswap does not compare", "executor/test_vmem.py::test_compare_and_swap_by_one_winner",
         r"global_atomic_cmpswap "),
        ("isa.atomics", "(total(old & high, given & high) << low)", "(total(old & high, given & high))", "global_atomic_pk_add_bf16 loses the high half",
         "executor/test_vmem.py::test_float_and_packed_atomics", r"(global_atomic|ds)_pk_add_(rtn_)?bf16"),
        ("isa.atomics", "np.where(given < old, given, old)", "np.where(given > old, given, old)", "global_atomic_min_f64 is the maximum", "executor/test_vmem.py::test_f64_atomics",
         r"global_atomic_min_f64"),
    ],
    "waits": [
        ("isa.control", "word & 15 | word >> 10 & 48", "word & 15", "the high bits of a bare vmcnt are lost", "executor/test_counters.py::test_a_wait_as_a_bare_number", ""),
        ("machine.counters", "surplus = max(surplus - scalars, 0)", "pass", "scalar loads count as if they came in order", "executor/test_counters.py::test_scalar_loads_need_a_wait_for_zero", ""),
        ("machine.counters", "if len(self.vector) >= MOST_VECTOR else []", "if False else []", "more than 63 loads may be outstanding",
         "executor/test_counters.py::test_a_full_counter_waits_for_the_oldest", ""),
        ("machine.counters", "done, self.vector = self.vector[:surplus], self.vector[surplus:]", "done, self.vector = [], self.vector[surplus:]",
         "direct-to-LDS loads never land", "executor/test_lds.py::test_direct_to_lds_bytes_arrive_with_the_wait", ""),
        ("decode", 'return (everything, sources) if instruction.mnemonic.startswith("ds_") else (sources, everything)', "return sources, sources",
         "a load may overwrite what the other counter still fills", "executor/test_counters.py::test_a_load_may_refill_what_an_earlier_one_of_its_counter_fills", ""),
    ],
    "launch: ids, hidden arguments, MODE": [
        ("launch", "word = word | (number // x % y) << 10", "word = word | (number // x) << 10", "y of a work-item runs on through z", "test_driver.py::test_work_item_ids_are_packed_in_one_register", ""),
        ("arguments", 'values[f"hidden_block_count_{axis}"] = groups', 'values[f"hidden_block_count_{axis}"] = 0', "hidden_block_count_x is 0, so tl.num_programs is",
         "test_driver.py::test_hidden_arguments_tell_the_launch", ""),
        ("arguments", 'if place.kind.startswith("hidden_") and place.kind not in known', "if False", "a hidden argument without a value is read as 0",
         "test_driver.py::test_a_hidden_argument_without_a_value_is_refused_when_it_is_read", ""),
        ("machine.sources", "np.where(bits & np.uint32(0x7F800000) == 0, bits & np.uint32(0x80000000), bits)", "bits", "f32 denormals are kept where MODE flushes them",
         "test_driver.py::test_denormals_are_flushed_where_the_kernel_asks_for_it", ""),
    ],
    "branches, barriers, exec": [
        ("machine.state", "np.copyto(self.bank(bank)[index], value, where=self.active)", "np.copyto(self.bank(bank)[index], value)", "inactive lanes are written",
         "executor/test_valu.py::test_inactive_lanes_keep_their_value", ""),
        ("machine.state", "if index >= EXEC:", "if index > EXEC:", "a write to exec does not refresh the mask", "executor/test_salu.py::test_saveexec_saves_and_narrows", ""),
        ("scheduler", "np.subtract.at(self.live, batch.group, 1)", "pass", "a barrier waits for waves that have ended", "test_driver.py::test_a_barrier_that_some_waves_never_reach", ""),
        ("scheduler", 'raise NoProgress(f"still running after {self.steps} steps", current.instruction.where)', "return", "an endless loop ends without a word",
         "test_driver.py::test_a_barrier_that_some_waves_never_reach", ""),
    ],
}  # fmt: skip

FAULTS = [Fault(family, *row) for family, listed in ROWS.items() for row in listed]


def shown() -> list[str]:
    """The rows of the table in docs/gfx950.md."""
    return [f"| {fault.family} | {fault.does} | `{fault.seen_by.removeprefix('executor/')}` | {'yes' if fault.told_by else ''} |" for fault in FAULTS]
