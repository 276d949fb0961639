"""`kernels opcodes`: the programs, the launch through HIP's calls, the verdicts and the file. The GPU is a stand-in that executes by our executor."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tunefork.cli.kernels.opcodes import opcodes
from tunefork.kernels.amdgcn.assembly import parse_instruction
from tunefork.kernels.amdgcn.errors import CompileFailed
from tunefork.kernels.amdgcn.executor.decode import decode_instruction
from tunefork.kernels.amdgcn.opcodes import check, judge
from tunefork.kernels.amdgcn.opcodes.form import AT_MEMORY, AT_VECTORS, BLOCK, HEAD, SCALARS, TAIL, Form, forms
from tunefork.kernels.amdgcn.opcodes.inputs import blocks

LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p, ctypes.c_size_t)
GFX942, GFX950, ILLEGAL_ADDRESS = 0x4C, 0x4F, 700
Change = Callable[[Form, np.ndarray[Any, Any]], None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT TESTED: no C compiler on PATH, of which the stand-in for libamdhip64 is made")
    made = tmp_path_factory.mktemp("hip") / "libamdhip64.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, Path(__file__).with_name("stand_in_hip.c")], check=True)
    return made


class StandIn:
    """The GPU: executes the form whose code object came, then changes the result by ``change``; ``fails`` names the launch that is an error."""

    def __init__(self, library: Path, known: list[Form]) -> None:
        self.known = {check.assembled(form.text): form for form in known}
        self.library, self.change, self.fails, self.launches = ctypes.CDLL(str(library)), self.unchanged, -1, 0
        self.held = LAUNCH(self.launch)

    def set(self, *, devices: int = 1, mach: int = GFX950) -> None:
        self.library.stand_in(self.held, devices, mach)

    @staticmethod
    def unchanged(form: Form, result: np.ndarray[Any, Any]) -> None:
        pass

    def launch(self, image: int, size: int, kernel: bytes, dims: Any, arguments: int, length: int) -> int:
        form = self.known[ctypes.string_at(image, size)]
        assert (kernel, length, list(dims[1:7])) == (b"k", 16, [1, 1, 64, 1, 1, 0])
        self.launches += 1
        if self.launches == self.fails:
            return ILLEGAL_ADDRESS
        given, result = (np.ctypeslib.as_array((ctypes.c_uint8 * (dims[0] * BLOCK)).from_address(at)).reshape(-1, BLOCK)
                         for at in struct.unpack("<QQ", ctypes.string_at(arguments, length)))  # fmt: skip
        assert not result.any(), "what goes out was not cleared"
        result[:] = check.executed(form, given.copy())
        self.change(form, result)
        return 0


SOME = ["v_add_f32_e32 v10, v0, v2", "v_exp_f32_e32 v10, v0", "v_cmpx_lt_u32_e32 vcc, v0, v2", "s_add_i32 s8, s4, s6", "ds_add_rtn_u32 v10, v6, v2",
        "global_atomic_inc v10, v[6:7], v2, off sc0", "v_mov_b32_dpp v10, v0 row_shl:3 row_mask:0xf bank_mask:0xf",
        "v_mfma_f32_16x16x32_bf16 v[16:19], v[0:3], v[8:11], v[16:19]"]  # fmt: skip


@pytest.fixture
def gpu(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    listed = {form.line: form for form in forms()}
    chosen = [listed[line] for line in SOME]
    monkeypatch.setattr("tunefork.kernels.amdgcn.opcodes.form.forms", lambda: tuple(chosen))
    made = StandIn(library, chosen)
    made.set()
    yield made
    assert made.fails > 0 or made.library.stand_in_allocations() == 0


def run(library: Path, out: Path, *words: str) -> tuple[Result, list[dict[str, Any]]]:
    result = CliRunner().invoke(opcodes, ["--hip", str(library), "--out", str(out), "--inputs", "128", *words], standalone_mode=False)
    return result, [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def test_every_form_is_one_that_the_assembler_and_the_executor_know() -> None:
    lines = [form.line for form in forms()]
    assert len(set(lines)) == len(lines) >= 1470
    assert check.assembled(HEAD + "".join(f"\t{line}\n" for line in lines) + "\ts_endpgm\n" + TAIL)
    for line in lines:
        decode_instruction(parse_instruction(line))
    with pytest.raises(CompileFailed, match="invalid instruction v_nonsense"):
        check.assembled(HEAD + "\tv_nonsense v0\n" + TAIL)


@pytest.mark.parametrize("line", SOME)
def test_the_program_moves_every_register_in_and_out(line: str) -> None:
    """What the instruction does not write comes out as it went in; what it writes is told by its own formula for the first of them."""
    form = Form(line)
    given = blocks(form, 2)
    result = check.executed(form, given)
    registers, before = (np.ascontiguousarray(side[:, AT_VECTORS:AT_MEMORY]).view(np.uint32).reshape(2, 64, 48) for side in (result, given))
    written = {int(name[1:]) for name in form.named if name[0] == "v"} | ({6, 7} if form.in_memory else set())
    kept = [at for at in range(48) if at not in written]
    assert (registers[:, :, kept] == before[:, :, kept]).all()
    if line.startswith("v_add_f32"):
        with np.errstate(all="ignore"):
            wanted = before[:, :, 0].view(np.float32) + before[:, :, 2].view(np.float32)
        active = np.unpackbits(given[:, 40:48], axis=1, bitorder="little").astype(bool)
        np.testing.assert_array_equal(registers[:, :, 10].view(np.float32)[active], wanted[active])
        assert not active[1].all() and (registers[:, :, 10][~active] == before[:, :, 10][~active]).all()
    if line.startswith("s_add"):
        a, b = (given[:, 4 * at : 4 * at + 4].copy().view(np.int32)[:, 0].astype(int) for at in (0, 2))
        assert result[:, 16:20].copy().view(np.int32)[:, 0].tolist() == [(int(x + y) + 2**31) % 2**32 - 2**31 for x, y in zip(a, b, strict=True)]
        assert result[:, 48].tolist() == [int(not -(2**31) <= x + y < 2**31) for x, y in zip(a, b, strict=True)]
    if line.startswith("ds_add"):
        memory, old = (side[:, AT_MEMORY:].reshape(2, 64, 64)[:, :, :4].copy().view(np.uint32)[..., 0] for side in (result, given))
        assert (memory[0] == old[0] + before[0, :, 2]).all() and (registers[0, :, 10] == old[0]).all()


def test_equal_results_and_their_file(gpu: StandIn, library: Path, tmp_path: Path) -> None:
    result, (head, *lines) = run(library, tmp_path / "new" / "opcodes.jsonl")
    assert result.return_value == 0, result.output
    assert (head["device"], head["forms"], head["inputs"], head["runtime"]) == ("stand-in, no GPU", len(SOME), 128, 70051831)
    assert [line["form"] for line in lines] == SOME and {line["verdict"] for line in lines} == {"equal"} and gpu.launches == len(SOME)
    case = lines[0]["cases"][0]
    assert lines[0]["opcode"] == "v_add_f32" and case["executor"] == case["device"] and {"v0", "v2", "v10", "exec_lo"} <= case["input"].keys()
    assert "8 equal" in result.output


def test_a_result_that_is_another_is_told_with_its_inputs(gpu: StandIn, library: Path, tmp_path: Path) -> None:
    def change(form: Form, result: np.ndarray[Any, Any]) -> None:
        if form.line == SOME[0]:
            result[1, AT_VECTORS + (5 * 48 + 10) * 4 + 2] ^= 0x40  # v10 of lane 5, exponent
        if form.line == SOME[3]:
            result[0, 4 * SCALARS.index("scc")] ^= 1

    gpu.change = change
    result, (_, *lines) = run(library, tmp_path / "o.jsonl", "--json")
    assert result.return_value == 1
    assert [line["form"] for line in lines if line["verdict"] == "different"] == [SOME[0], SOME[3]]
    case, given = lines[0]["cases"][0], blocks(Form(SOME[0]), 2)
    assert (case["place"], case["group"], lines[0]["different"]) == ("v10 of lane 5", 1, 1)
    assert int(case["executor"], 16) ^ int(case["device"], 16) == 0x400000 and int(case["input"]["v2"], 16) == judge.register_of(given[1], "v2", 5)
    assert lines[3]["cases"][0]["place"] == "scc" and SOME[3] in result.output
    told = json.loads(result.stdout[result.stdout.index("{\n") :])
    assert told["different"] == ["s_add_i32", "v_add_f32"] and told["verdicts"] == {"different": 2, "equal": 6}


@pytest.mark.parametrize(("line", "executor", "device", "verdict"), [
    ("v_add_f32_e32 v10, v0, v2", 0x7FC00000, 0xFFC00001, "near"), ("v_add_f32_e32 v10, v0, v2", 0x3F800000, 0x3F800001, "different"),
    ("v_exp_f32_e32 v10, v0", 0x3F800000, 0x3F800001, "near"), ("v_exp_f32_e32 v10, v0", 0x3F800000, 0x3F800003, "different"),
    ("v_rcp_f32_e32 v10, v0", 0x80000001, 0x00000000, "near"), ("v_rcp_f32_e32 v10, v0", 0x7F7FFFFF, 0x7F800000, "different"),
    ("v_pk_add_f16 v10, v0, v2", 0x7E00_3C00, 0xFE01_3C00, "near"), ("v_pk_add_f16 v10, v0, v2", 0x7E00_3C00, 0xFE01_3C01, "different"),
    ("v_and_b32_e32 v10, v0, v2", 0x7FC00000, 0x7FC00001, "different"), ("v_sin_f32_e32 v10, v0", 0x3F000000, 0x3F000800, "near"),
    ("v_mfma_f32_16x16x4_f32 v[16:19], v0, v8, v[16:19]", 0x3F800000, 0x3F800004, "near"),
    ("v_mfma_f32_16x16x4_f32 v[16:19], v0, v8, v[16:19]", 0x3F800000, 0x3F800400, "different"),
])  # fmt: skip
def test_what_counts_as_near(line: str, executor: int, device: int, verdict: str) -> None:
    sides = np.zeros((2, 1, BLOCK), np.uint8)
    for side, word in zip(sides, (executor, device), strict=True):
        side[0, AT_VECTORS + 16 * 4 : AT_VECTORS + 17 * 4] = np.array([word], np.uint32).view(np.uint8)
    found, places = judge.judged(Form(line), *sides)
    assert found == verdict and [str(place) for place, _, _ in places] == ["v16 of lane 0"]


def test_f64_near_needs_both_words() -> None:
    """A NaN's payload in f64 may be another; half a NaN is no NaN."""
    sides = np.zeros((2, 1, BLOCK), np.uint8)
    for side, word in zip(sides, (0x7FF8000000000000, 0x7FF8000000000001), strict=True):
        side[0, AT_VECTORS + 40 : AT_VECTORS + 48] = np.array([word], np.uint64).view(np.uint8)
    assert judge.judged(Form("v_add_f64 v[10:11], v[0:1], v[2:3]"), *sides)[0] == "near"
    sides[:, 0, AT_VECTORS + 44 : AT_VECTORS + 48] = 0
    assert judge.judged(Form("v_add_f64 v[10:11], v[0:1], v[2:3]"), *sides)[0] == "different"


def test_a_gpu_that_is_no_gfx950(gpu: StandIn, library: Path, tmp_path: Path) -> None:
    gpu.set(mach=GFX942)
    gpu.fails = 1  # what was allocated may stay
    result, lines = run(library, tmp_path / "o.jsonl")
    assert "is no gfx950: its runtime takes no code object" in str(result.exception) and getattr(result.exception, "code", 0) == 6
    assert len(lines) == 1 and not gpu.launches


def test_a_fault_of_the_gpu_keeps_what_came_before(gpu: StandIn, library: Path, tmp_path: Path) -> None:
    gpu.fails = 3
    result, lines = run(library, tmp_path / "o.jsonl")
    assert "hipModuleLaunchKernel failed: hipErrorIllegalAddress (700) after 2 forms, which are in" in str(result.exception)
    assert [line["form"] for line in lines[1:]] == SOME[:2]


def test_what_is_missing_is_one_line(gpu: StandIn, library: Path, tmp_path: Path) -> None:
    gpu.set(devices=0)
    assert "hipGetDeviceCount failed: hipErrorNoDevice (100)" in str(run(library, tmp_path / "o")[0].exception)
    gpu.set()
    assert "sees 1 GPUs, not number 3" in str(run(library, tmp_path / "o", "--device", "3")[0].exception)
    assert "cannot be used" in str(run(tmp_path / "none.so", tmp_path / "o")[0].exception)
    assert "undefined symbol: hipInit" in str(run(Path(ctypes.util.find_library("m") or "libm.so.6"), tmp_path / "o")[0].exception)
    without = CliRunner().invoke(opcodes, ["--out", str(tmp_path / "o")], standalone_mode=False)
    assert "opcodes are compared on a gfx950 (MI350X, MI355X); this machine has" in str(without.exception)
