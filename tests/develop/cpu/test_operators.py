"""Which compiled operators a host needs: held against what vLLM itself decides."""

import ast
from pathlib import Path

import pytest
from develop_workshop import WHEEL

from tunefork.base.errors import BuildError
from tunefork.develop import store
from tunefork.develop.cpu import operators
from tunefork.patchset.sources.pins import PinnedWheel

AVX512 = {"avx2", "avx512f", "avx512vl", "avx512bw", "avx512dq"}


@pytest.mark.parametrize(
    ("flags", "library"),
    [
        ({"avx2"}, "vllm/_C_AVX2.abi3.so"),
        ({"avx2", "avx512f"}, "vllm/_C_AVX2.abi3.so"),
        (AVX512, "vllm/_C_AVX512.abi3.so"),
        (AVX512 | {"avx512_bf16", "amx_bf16"}, "vllm/_C.abi3.so"),
    ],
)
def test_the_library_for_a_host(flags, library):
    assert operators.kernel_library(flags) == library
    assert operators.needed(flags)[0] == library


def test_a_host_too_old():
    with pytest.raises(BuildError, match="need AVX2"):
        operators.kernel_library({"sse4_2"})


@pytest.mark.skipif(
    not (Path(__file__).parents[3] / "work/vllm/vllm/platforms/cpu.py").is_file(), reason="vLLM is not applied in this checkout"
)
def test_vllm_loads_exactly_these_libraries():
    source = (Path(__file__).parents[3] / "work/vllm/vllm/platforms/cpu.py").read_text()
    imported = {
        alias.name.partition(".")[2]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.startswith("vllm._C")
    }
    ours = {operators.kernel_library(flags) for flags in ({"avx2"}, AVX512, AVX512 | {"avx512_bf16"})}
    assert {f"vllm/{name}.abi3.so" for name in imported} == ours


def test_only_what_the_host_needs_is_taken_out_and_it_is_executable(workshop):
    made = operators.artefact(workshop.layout, {"avx2"}, print)
    assert set(made.files) == {"vllm/_C_AVX2.abi3.so", "vllm/fs_io_C.abi3.so", "vllm/spinloop.abi3.so"}
    assert (made.folder / "vllm/spinloop.abi3.so").read_bytes() == WHEEL["vllm/spinloop.abi3.so"]
    assert (made.folder / "vllm/spinloop.abi3.so").stat().st_mode & 0o111


def test_a_damaged_artefact_is_made_again_from_the_wheel(workshop):
    made = operators.artefact(workshop.layout, {"avx2"}, print)
    (made.folder / "vllm/_C_AVX2.abi3.so").write_bytes(b"rotten")
    lines = []
    operators.place(workshop.layout, workshop.vllm, {"avx2"}, lines.append)
    assert (workshop.vllm / "vllm/_C_AVX2.abi3.so").read_bytes() == WHEEL["vllm/_C_AVX2.abi3.so"]
    assert "taking it out of the wheel again" in lines[0]
    assert store.find(workshop.layout, made.digest) is not None


def test_the_key_follows_the_wheel_and_the_members():
    wheel, other = PinnedWheel("w", "1", "a" * 64), PinnedWheel("w", "1", "b" * 64)
    keys = {operators.artefact_digest(pin, members) for pin in (wheel, other) for members in (("x", "y"), ("x",))}
    assert len(keys) == 4
    assert operators.artefact_digest(wheel, ("y", "x")) == operators.artefact_digest(wheel, ("x", "y"))
