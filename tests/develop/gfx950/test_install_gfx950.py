"""`develop` for the gfx950 target: the plan that --dry-run prints is what runs, here against stand-ins for pip and the compilers."""

from dataclasses import replace

import pytest
from develop_workshop import CPU_MACHINE, GPU_MACHINE, VERSIONS, VLLM_VERSION

from tunefork.base.errors import BuildError, MissingTool
from tunefork.develop import compiled, install


def develop(workshop, **options):
    return install.develop(workshop.layout, "gfx950", machine=GPU_MACHINE, **options)


@pytest.fixture(autouse=True)
def _machine_parts(workshop, monkeypatch):
    """The container's own vLLM and AITER, its torch, and an amdsmi; no ccache unless a test brings one."""
    for name in ("vllm-0.10.1+rocm700", "amd_aiter-0.1.5", "torch-2.13.0+rocm7.2", "triton-3.7.0+rocm7.2"):
        (workshop.site / f"{name}.dist-info").mkdir()
    (workshop.folder / "fakes" / "amdsmi.py").write_text("")
    tools = workshop.folder / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name, **_: str(tools / name) if (tools / name).exists() else None)


def words(call):
    return " ".join(call["argv"])


@pytest.mark.slow
def test_the_order_and_the_environment_of_a_first_build(workshop):
    done = develop(workshop)
    uninstall, tools, submodules, aiter, ahead, requirements, kernels, vllm = workshop.calls()
    folder = workshop.layout.work / "develop"
    pip = ["-m", "pip", "install", "--disable-pip-version-check"]
    constrained = ["-c", str(folder / "constraints.txt")]
    editable = [*pip, "--no-build-isolation", "--no-deps", "-e"]
    assert uninstall["argv"] == ["-m", "pip", "uninstall", "-y", "vllm", "amd-aiter"]
    assert tools["argv"] == [*pip, *constrained, "-r", str(folder / "build.txt")]
    assert submodules["argv"] == ["-m", "tunefork.develop.gfx950.submodules", "aiter", str(workshop.aiter)]
    assert aiter["argv"] == [*editable, str(workshop.aiter)]
    assert aiter["cwd"] == str(workshop.aiter)
    assert aiter["env"] == {
        "GPU_ARCHS": "gfx950",
        "PREBUILD_KERNELS": "0",
        "MAX_JOBS": "64",
        "AITER_FLYDSL_AOT_WORKERS": "64",
        "AITER_USE_SYSTEM_TRITON": "1",
        "SETUPTOOLS_SCM_PRETEND_VERSION": f"{VERSIONS['aiter']}+tunefork.gfx950",
    }
    assert ahead["argv"] == ["setup.py", "editable_wheel", "--dist-dir", str(folder / "aiter-wheel")]
    assert (ahead["cwd"], ahead["env"]) == (str(workshop.aiter), {**aiter["env"], "PREBUILD_KERNELS": "1"})
    assert kernels["argv"] == ["-m", "tunefork.develop.gfx950.triton_kernels", str(workshop.vllm), str(folder / "rocm-triton")]
    assert requirements["argv"] == [*pip, *constrained, "-r", str(workshop.vllm / "requirements" / "rocm.txt")]
    assert vllm["argv"] == [*editable, str(workshop.vllm)]
    assert vllm["env"] == {
        "VLLM_TARGET_DEVICE": "rocm",
        "PYTORCH_ROCM_ARCH": "gfx950",
        "MAX_JOBS": "64",
        "VLLM_VERSION_OVERRIDE": f"{VLLM_VERSION}+tunefork.gfx950",
        "TRITON_KERNELS_SRC_DIR": str(folder / "rocm-triton" / "python" / "triton_kernels" / "triton_kernels"),
    }
    assert done.rebuilt == ("aiter", "vllm")
    assert done.version == f"{VLLM_VERSION}+p{workshop.tree('vllm').series_hash}.gfx950"


@pytest.mark.slow
def test_pip_cannot_replace_the_machines_own(workshop):
    develop(workshop)
    folder = workshop.layout.work / "develop"
    assert (folder / "constraints.txt").read_text().splitlines() == ["torch==2.13.0+rocm7.2", "triton==3.7.0+rocm7.2"]
    assert (folder / "build.txt").read_text().splitlines() == ["cmake>=3.26.1,<4", "pybind11>=3.0.1", "flydsl==0.2.4"]


@pytest.mark.slow
def test_a_dry_run_prints_what_runs(workshop):
    plan = install.plan(workshop.layout, "gfx950", machine=GPU_MACHINE)
    assert workshop.calls() == []
    develop(workshop)
    planned = [step for step in plan.steps if step.argv]
    ran = workshop.calls()
    assert [list(step.argv[1:]) for step in planned] == [call["argv"] for call in ran]
    assert [{name: value for name, value in step.env.items() if value} for step in planned] == [call["env"] for call in ran]
    assert [str(step.cwd) for step in planned] == [call["cwd"] for call in ran]


def test_a_dry_run_needs_no_rocm_and_no_trees(workshop, monkeypatch):
    monkeypatch.setattr("tunefork.develop.gfx950.target.applied_tree", lambda *_args: None)
    monkeypatch.setattr(install, "applied_tree", lambda *_args: None)
    plan = install.plan(workshop.layout, "gfx950", machine=CPU_MACHINE)
    titles = [step.title for step in plan.steps]
    monkeypatch.setattr("tunefork.base.layout.Layout.checkout", lambda layout, name, *_: layout.work / "none" / name)
    written = next(step.writes for step in install.plan(workshop.layout, "gfx950", machine=CPU_MACHINE).steps if step.writes)
    assert any("python3 build.py apply vllm aiter" in text for text in written.values()), "an empty file would look like none needed"
    assert len(titles) == 9
    assert titles.index("fetching AITER's submodules (composable_kernel)") < titles.index("installing vLLM's ROCm requirements")
    with pytest.raises(MissingTool, match="built against a ROCm torch; this Python has no torch"):
        install.develop(workshop.layout, "gfx950", machine=CPU_MACHINE)


@pytest.mark.slow
def test_nothing_is_rebuilt_while_the_native_inputs_are_the_same(workshop):
    develop(workshop)
    workshop.calls()
    assert (develop(workshop).rebuilt, workshop.calls()) == ((), [])
    workshop.commit_all(workshop.vllm, {"vllm/model.py": "SCALE = 2\n"}, "python")
    workshop.commit_all(workshop.aiter, {"aiter/ops.py": "STAGES = 2\n"}, "python")
    done = develop(workshop)
    assert (done.rebuilt, workshop.calls()) == ((), [])
    assert done.version == f"{VLLM_VERSION}+p{workshop.tree('vllm').series_hash}.gfx950"
    assert workshop.tree("aiter").series_hash in (workshop.aiter / "aiter" / "_version.py").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("committed", [True, False])
def test_a_changed_kernel_of_vllm_rebuilds_vllm_alone(workshop, committed):
    develop(workshop)
    workshop.calls()
    if committed:
        workshop.commit_all(workshop.vllm, {"csrc/op.cu": "void op() { faster(); }\n"}, "native")
    else:
        (workshop.vllm / "csrc" / "op.cu").write_text("void op() { faster(); }\n")
    done = develop(workshop)
    assert done.rebuilt == ("vllm",)
    assert [call["argv"][-1] for call in workshop.calls()] == [str(workshop.layout.work / "develop" / "rocm-triton"), str(workshop.vllm)]


@pytest.mark.slow
def test_going_back_takes_the_build_from_the_store(workshop):
    develop(workshop)
    first = (workshop.vllm / "vllm" / "_rocm_C.abi3.so").read_bytes()
    workshop.commit_all(workshop.vllm, {"csrc/op.cu": "void op() { faster(); }\n"}, "native")
    develop(workshop)
    assert (workshop.vllm / "vllm" / "_rocm_C.abi3.so").read_bytes() != first
    workshop.commit_all(workshop.vllm, {"csrc/op.cu": "void op() {}\n"}, "back")
    workshop.calls()
    assert develop(workshop).rebuilt == ()
    assert workshop.calls() == []
    assert (workshop.vllm / "vllm" / "_rocm_C.abi3.so").read_bytes() == first


@pytest.mark.slow
def test_a_changed_kernel_of_aiter_removes_its_stale_objects_only(workshop):
    develop(workshop)
    workshop.calls()
    jit = workshop.aiter / "aiter" / "jit"
    (jit / "module_moe.so").write_bytes(b"old")
    (jit / "build" / "module_moe").mkdir(parents=True)
    workshop.commit_all(workshop.aiter, {"csrc/moe.cu": "void moe() { faster(); }\n"}, "native")
    assert develop(workshop).rebuilt == ("aiter",)
    assert [words(call)[:39] for call in workshop.calls()] == ["-m tunefork.develop.gfx950.submodules a"]
    assert not (jit / "module_moe.so").exists()
    assert (jit / "build" / "module_moe").is_dir()


@pytest.mark.slow
def test_jit_objects_elsewhere(workshop, monkeypatch):
    elsewhere = workshop.folder / "jit"
    elsewhere.mkdir()
    (elsewhere / "module_moe.so").write_bytes(b"old")
    monkeypatch.setenv("AITER_JIT_DIR", str(elsewhere))
    develop(workshop)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.slow
def test_other_architectures_are_another_build(workshop):
    develop(workshop)
    workshop.calls()
    develop(workshop, architectures=("gfx950", "gfx942"))
    vllm = workshop.calls()[-1]
    assert vllm["env"]["PYTORCH_ROCM_ARCH"] == "gfx942;gfx950"


@pytest.mark.slow
def test_ccache_is_used_where_it_is(workshop):
    (workshop.folder / "tools" / "ccache").write_text("")
    develop(workshop)
    env = workshop.calls()[-1]["env"]
    assert (env["CCACHE_BASEDIR"], env["CCACHE_NOHASHDIR"]) == (str(workshop.vllm), "true")


@pytest.mark.slow
def test_amdsmi_comes_from_the_machines_rocm(workshop):
    (workshop.folder / "fakes" / "amdsmi.py").unlink()
    develop(workshop)
    assert any(words(call).endswith("--no-deps /opt/rocm/share/amd_smi") for call in workshop.calls())


@pytest.mark.slow
def test_amdsmi_of_a_rocm_that_came_as_wheels(workshop):
    (workshop.folder / "fakes" / "amdsmi.py").unlink()
    home = workshop.folder / "_rocm_sdk_devel"
    install.develop(workshop.layout, "gfx950", machine=replace(GPU_MACHINE, rocm_home=home))
    assert any(words(call).endswith(f"--no-deps {home}/share/amd_smi") for call in workshop.calls())


@pytest.mark.slow
@pytest.mark.parametrize(("level", "ahead"), [(0, []), (1, ["1"]), (2, ["2"])])
def test_only_the_build_ahead_is_told_to_prebuild(workshop, level, ahead):
    develop(workshop, prebuild=level)
    calls = [call for call in workshop.calls() if "PREBUILD_KERNELS" in call["env"]]
    assert [call["env"]["PREBUILD_KERNELS"] for call in calls] == ["0", *ahead]
    assert calls[0]["argv"][:3] == ["-m", "pip", "install"]


@pytest.mark.slow
def test_a_triton_of_the_users_own_is_not_fetched(workshop, monkeypatch):
    monkeypatch.setenv("TRITON_KERNELS_SRC_DIR", "/src/triton_kernels")
    develop(workshop)
    calls = workshop.calls()
    assert not any("triton_kernels" in words(call) for call in calls)
    assert calls[-1]["env"]["TRITON_KERNELS_SRC_DIR"] == "/src/triton_kernels"


@pytest.mark.slow
def test_a_failing_build_leaves_no_mark_and_is_repeated(workshop):
    (workshop.folder / "refuse").write_text(f"-e {workshop.vllm}")
    with pytest.raises(BuildError, match="fatal error: no such header") as caught:
        develop(workshop)
    assert "develop-gfx950.log" in caught.value.remedy
    assert compiled.digest_in(workshop.vllm) is None
    (workshop.folder / "refuse").unlink()
    workshop.calls()
    assert develop(workshop).rebuilt == ("aiter", "vllm")
    assert words(workshop.calls()[-1]).endswith(f"-e {workshop.vllm}")


@pytest.mark.slow
def test_an_aiter_that_shadows_ours_is_left_by_what_is_printed(workshop, monkeypatch, tmp_path):
    other = tmp_path / "other" / "aiter"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    with pytest.raises(BuildError, match=f"aiter is imported from {other}/__init__.py, not from {workshop.aiter}") as caught:
        develop(workshop)
    assert caught.value.remedy.startswith("`unset PYTHONPATH`, or") and caught.value.remedy.endswith("; then python3 build.py develop")
    monkeypatch.delenv("PYTHONPATH")
    assert develop(workshop).version.startswith(VLLM_VERSION)


def test_without_aiter(workshop, monkeypatch):
    real = install.applied_tree
    monkeypatch.setattr("tunefork.develop.gfx950.target.applied_tree", lambda layout, name: None if name == "aiter" else real(layout, name))
    with pytest.raises(MissingTool, match="aiter is not applied") as caught:
        develop(workshop)
    assert caught.value.remedy == "python3 build.py apply aiter"
