"""The native digest: changed by what a build depends on, and by nothing else."""

import pytest
from develop_workshop import git

from tunefork.develop.native import native_digest

FACTS = {"torch": "2.13.0+rocm7.2", "rocm": "7.2.0", "architectures": "gfx950"}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["csrc/op.cu", "csrc/new.cuh", "setup.py", "CMakeLists.txt", "cmake/x.cmake", "rust/lib.rs"])
@pytest.mark.parametrize("committed", [True, False])
def test_native_inputs_change_it(workshop, path, committed):
    before = native_digest(workshop.vllm, "vllm", FACTS)
    target = workshop.vllm / path
    target.parent.mkdir(exist_ok=True)
    target.write_text("changed\n")
    if committed:
        workshop.commit_all(workshop.vllm, {}, "native")
    assert native_digest(workshop.vllm, "vllm", FACTS) != before


def test_python_does_not_change_it(workshop):
    before = native_digest(workshop.vllm, "vllm", FACTS)
    (workshop.vllm / "vllm" / "model.py").write_text("SCALE = 2\n")
    assert native_digest(workshop.vllm, "vllm", FACTS) == before
    workshop.commit_all(workshop.vllm, {"vllm/other.py": ""}, "python")
    assert native_digest(workshop.vllm, "vllm", FACTS) == before


@pytest.mark.parametrize("fact", FACTS)
def test_each_fact_changes_it(workshop, fact):
    assert native_digest(workshop.vllm, "vllm", {**FACTS, fact: "other"}) != native_digest(workshop.vllm, "vllm", FACTS)


def test_two_edits_of_a_submodule_are_told_apart(workshop):
    kernels = workshop.folder / "composable_kernel"
    kernels.mkdir()
    workshop.commit_all(kernels, {"gemm.hpp": "1\n"})
    git(workshop.aiter, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(kernels), "3rdparty/composable_kernel")
    workshop.commit_all(workshop.aiter, {}, "submodule")
    found = [native_digest(workshop.aiter, "aiter", FACTS)]
    for text in ("2\n", "3\n"):
        (workshop.aiter / "3rdparty/composable_kernel/gemm.hpp").write_text(text)
        found.append(native_digest(workshop.aiter, "aiter", FACTS))
    assert len(set(found)) == 3
