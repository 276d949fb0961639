"""Running several variants of one install side by side."""

import os
import shutil
import subprocess

import pytest
from develop_workshop import CPU_MACHINE, GPU_MACHINE, VLLM_VERSION, git

from tunefork.base.errors import BuildError, MissingTool
from tunefork.develop import compiled, install, variants
from tunefork.develop.clean import clean


@pytest.fixture
def two_variants(workshop, monkeypatch):
    """The primary holds `all` (one commit over the pin); `base` is applied beside it when asked for."""
    workshop.commit_all(workshop.vllm, {"vllm/model.py": "SCALE = 2\n"}, "a patch")
    beside = workshop.layout.checkout("vllm", "base")
    asked = []

    def apply_variant(_layout, upstream, spec, *, beside=False, say):
        asked.append((upstream, spec, beside))
        path = workshop.layout.checkout("vllm", "base")
        if not path.exists():
            git(workshop.vllm, "worktree", "add", "-q", "--detach", str(path), "HEAD~1")
        return workshop.tree("vllm", spec, path)

    monkeypatch.setattr(variants, "apply_variant", apply_variant)
    monkeypatch.setattr(variants, "canonical", lambda _layout, spec: spec)
    monkeypatch.setattr(variants, "cpu_flags", lambda _path: frozenset({"avx2"}))
    workshop.asked, workshop.beside = asked, beside
    return workshop


def served(environment):
    """What a server of this environment would say of itself."""
    code = "import vllm, vllm.model; print(vllm.__version__, vllm.model.SCALE)"
    done = subprocess.run(
        [environment.python, "-P", "-c", code], env={**os.environ, **environment.env}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_not_developed(workshop):
    with pytest.raises(MissingTool, match="vLLM is not installed here") as caught:
        variants.environment(workshop.layout, None, print)
    assert caught.value.remedy == "python3 build.py apply && python3 build.py develop"


def test_developed_from_another_clone(workshop):
    install.develop(workshop.layout, "cpu", machine=CPU_MACHINE)
    moved = workshop.vllm.rename(workshop.vllm.with_name("elsewhere"))
    moved.rename(workshop.layout.checkout("vllm").with_name("vllm-2"))
    with pytest.raises(MissingTool):
        variants.environment(workshop.layout, None, print)


def test_the_primary_and_one_beside_it_serve_their_own_code(two_variants):
    install.develop(two_variants.layout, "cpu", machine=CPU_MACHINE)
    two_variants.calls()
    primary = variants.environment(two_variants.layout, None, print)
    base = variants.environment(two_variants.layout, "base", print)
    assert (primary.env, base.env) == ({}, {"PYTHONPATH": str(two_variants.beside)})
    assert served(primary) == [primary.version, "2"]
    assert served(base) == [base.version, "1"]
    assert primary.version != base.version
    assert two_variants.asked == [("vllm", "base", True)]
    assert (two_variants.beside / "vllm" / "_C_AVX2.abi3.so").read_bytes() == b"avx2 operators"
    assert two_variants.calls() == []
    assert git(two_variants.beside, "status", "--porcelain") == ""


def test_the_primarys_variant_by_name_is_the_primary(two_variants):
    install.develop(two_variants.layout, "cpu", machine=CPU_MACHINE)
    assert variants.environment(two_variants.layout, "all", print).env == {}
    assert two_variants.asked == []


def test_asking_again_copies_nothing(two_variants):
    install.develop(two_variants.layout, "cpu", machine=CPU_MACHINE)
    variants.environment(two_variants.layout, "base", print)
    before = (two_variants.beside / "vllm" / "_C_AVX2.abi3.so").stat().st_mtime_ns
    lines = []
    variants.environment(two_variants.layout, "base", lines.append)
    assert (lines, (two_variants.beside / "vllm" / "_C_AVX2.abi3.so").stat().st_mtime_ns) == ([], before)


def test_a_switched_primary_needs_no_develop(two_variants):
    install.develop(two_variants.layout, "cpu", machine=CPU_MACHINE)
    two_variants.commit_all(two_variants.vllm, {"vllm/model.py": "SCALE = 3\n"}, "another patch")
    two_variants.calls()
    found = variants.environment(two_variants.layout, None, print)
    assert served(found) == [found.version, "3"]
    assert found.version == f"{VLLM_VERSION}+p{two_variants.tree('vllm').series_hash}.cpu"
    assert two_variants.calls() == []


def test_pythonpath_of_the_caller_is_dropped(two_variants, monkeypatch):
    install.develop(two_variants.layout, "cpu", machine=CPU_MACHINE)
    monkeypatch.setenv("PYTHONPATH", "/mine")
    assert variants.environment(two_variants.layout, "base", print).env["PYTHONPATH"] == str(two_variants.beside)


def test_missing_operators_are_noticed(two_variants):
    install.develop(two_variants.layout, "cpu", machine=CPU_MACHINE)
    (two_variants.vllm / "vllm" / "_C_AVX2.abi3.so").unlink()
    with pytest.raises(MissingTool, match="missing or were changed") as caught:
        variants.environment(two_variants.layout, None, print)
    assert caught.value.remedy == "python3 build.py develop"
    install.develop(two_variants.layout, "cpu", machine=CPU_MACHINE)  # which is what that command does
    assert served(variants.environment(two_variants.layout, None, print))[1] == "2"


@pytest.mark.slow
def test_a_store_that_was_emptied_is_filled_by_what_is_printed(two_variants, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _name, **_: None)
    (two_variants.folder / "fakes" / "amdsmi.py").write_text("")
    install.develop(two_variants.layout, "gfx950", machine=GPU_MACHINE)
    shutil.rmtree(two_variants.layout.cache / "artefacts")
    with pytest.raises(BuildError, match="no longer in the store") as caught:
        variants.environment(two_variants.layout, "base", print)
    assert caught.value.remedy == "python3 build.py clean && python3 build.py develop"
    clean(two_variants.layout)  # which is what those commands do
    install.develop(two_variants.layout, "gfx950", machine=GPU_MACHINE)
    variants.environment(two_variants.layout, "base", print)
    assert compiled.digest_in(two_variants.beside) == compiled.digest_in(two_variants.vllm)


@pytest.mark.slow
def test_gfx950_variants_share_a_build_and_refuse_another_one(two_variants, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _name, **_: None)
    (two_variants.folder / "fakes" / "amdsmi.py").write_text("")
    install.develop(two_variants.layout, "gfx950", machine=GPU_MACHINE)
    base = variants.environment(two_variants.layout, "base", print)
    built = (two_variants.vllm / "vllm" / "_rocm_C.abi3.so").read_bytes()
    assert (two_variants.beside / "vllm" / "_rocm_C.abi3.so").read_bytes() == built
    assert base.version.endswith(".gfx950")
    assert compiled.digest_in(two_variants.beside) == compiled.digest_in(two_variants.vllm)
    (two_variants.beside / "csrc" / "op.cu").write_text("void other() {}\n")
    with pytest.raises(BuildError, match="variant base has other compiled sources") as caught:
        variants.environment(two_variants.layout, "base", print)
    assert caught.value.remedy == "python3 build.py apply --variant base && python3 build.py develop"
    git(two_variants.beside, "checkout", "-q", "--", ".")
    git(two_variants.vllm, "checkout", "-q", "--detach", "HEAD~1")  # these two commands: the primary holds it, and is built
    monkeypatch.setattr(variants, "applied_tree", lambda *_args: two_variants.tree("vllm", "base"))
    install.develop(two_variants.layout, "gfx950", machine=GPU_MACHINE)
    assert variants.environment(two_variants.layout, "base", print).env == {}


def test_uncommitted_changes_are_said_with_what_they_run_in(workshop):
    """They are in no commit: nothing else tells that `all` is not all that runs."""
    install.develop(workshop.layout, "cpu", machine=CPU_MACHINE)
    said = []
    variants.environment(workshop.layout, None, said.append)
    assert not any("uncommitted" in line for line in said)
    (workshop.vllm / "vllm" / "model.py").write_text("SCALE = 9\n")
    variants.environment(workshop.layout, None, said.append)
    assert any("work/vllm holds uncommitted changes" in line and "vllm/model.py" in line for line in said)
