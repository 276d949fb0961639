"""The real setup.py of the pinned AITER and vLLM, as far as it goes without ROCm and a GPU: the steps of the plan, and the one that dies."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tunefork.base.layout import Layout
from tunefork.develop.gfx950 import plan as gfx950
from tunefork.develop.gfx950 import triton_kernels
from tunefork.develop.gfx950.plan import EVERYTHING, Build

WORK = Layout.here().work
RUNNER = Path(__file__).with_name("setup_runner.py")
pytestmark = pytest.mark.slow


def copied(upstream, folder, *parts):
    """The parts of an applied tree, copied: a setup.py writes into its own folder."""
    if not (WORK / upstream).is_dir():
        pytest.skip(f"NOT TESTED: no source of {upstream} is applied here (python3 build.py apply {upstream})")
    folder.mkdir()
    packed = subprocess.run(["git", "-C", str(WORK / upstream), "archive", "HEAD", *parts], check=True, capture_output=True)
    subprocess.run(["tar", "--extract"], cwd=folder, input=packed.stdout, check=True)
    return folder


def build(folder, vllm, aiter):
    return Build(python=sys.executable, vllm=vllm, aiter=aiter, folder=folder, jit_dir=aiter / "aiter" / "jit", vllm_version="0.33.0+tunefork.gfx950",
                 aiter_version="0.1.20+tunefork.gfx950", architectures=("gfx950",), jobs=3, prebuild=1, ccache=False, build_requirements=(), constraints=())


def run(step_env, folder, *arguments):
    """setup.py ARGUMENTS with a step's environment; (process, what it noted)."""
    notes = folder.parent / "notes.json"
    notes.unlink(missing_ok=True)
    rocm = folder.parent / "rocm"
    (rocm / ".info").mkdir(parents=True, exist_ok=True)
    (rocm / ".info" / "version").write_text("7.2.3\n")
    environment = {**{name: value for name, value in os.environ.items() if name != "AITER_ENABLE_EXPERIMENTAL"}, "ROCM_HOME": str(rocm),
                   "HOME": str(folder.parent), "PIP_NO_INDEX": "1", **{name: value for name, value in step_env.items() if value}}
    done = subprocess.run([sys.executable, "-P", str(RUNNER), str(notes), *arguments], cwd=folder, env=environment, capture_output=True, text=True,
                          check=False, timeout=300)
    return done, json.loads(notes.read_text()) if notes.is_file() else None


@pytest.fixture(scope="module")
def aiter(tmp_path_factory):
    """AITER's tree, FlyDSL said to be there: its setup.py would fetch 76 MB of it in an editable install."""
    folder = copied("aiter", tmp_path_factory.mktemp("real") / "aiter", "aiter", "csrc", "gradlib", "setup.py", "pyproject.toml", "README.md", "MANIFEST.in")
    (folder / "3rdparty" / "composable_kernel").mkdir(parents=True)
    (folder / "hsa").mkdir()
    return folder


@pytest.fixture(scope="module")
def steps(aiter):
    return {step.argv[1]: step for step in gfx950.plan(build(aiter.parent, aiter.parent / "vllm", aiter), EVERYTHING) if step.cwd == aiter and step.env}


def with_flydsl(folder, env):
    """FlyDSL's metadata on the path, as the build requirements put it there."""
    wanted = folder.parent / "site" / "flydsl-0.3.1.dist-info"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / "METADATA").write_text("Metadata-Version: 2.1\nName: flydsl\nVersion: 0.3.1\n")
    return {**env, "PYTHONPATH": str(wanted.parent)}


@pytest.mark.aiter
def test_pips_metadata_stage_dies_of_prebuild_kernels_and_lives_with_ours(aiter, steps):
    install, ahead = steps["-m"], steps["setup.py"]
    done, _ = run(with_flydsl(aiter, ahead.env), aiter, "dist_info")
    assert done.returncode != 0
    assert "No module named 'jit'" in done.stderr, "upstream mended it: one step is enough now"
    done, notes = run(with_flydsl(aiter, install.env), aiter, "dist_info")
    assert done.returncode == 0, done.stderr[-2000:]
    assert notes["modules"] == []


@pytest.mark.aiter
def test_the_editable_install_builds_no_kernel_and_runs_no_pip(aiter, steps, tmp_path):
    done, notes = run(with_flydsl(aiter, steps["-m"].env), aiter, "editable_wheel", "--dist-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert (notes["modules"], notes["flydsl"]) == ([], [])
    assert "Collecting" not in done.stdout + done.stderr
    assert (aiter / "aiter" / "install_mode").read_text() == "develop"
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith("amd_aiter-0.1.20+tunefork.gfx950-")
    assert any(name.endswith(".pth") or "__editable__" in name for name in zipfile.ZipFile(wheel).namelist())


@pytest.mark.aiter
def test_the_build_ahead_asks_for_the_modules_and_clones_nothing(aiter, steps, tmp_path):
    step = steps["setup.py"]
    assert step.argv[1:3] == ("setup.py", "editable_wheel")
    stale = aiter / "aiter" / "jit" / "build" / "module_old"
    stale.mkdir(parents=True, exist_ok=True)
    done, notes = run(with_flydsl(aiter, step.env), aiter, *step.argv[2:-1], str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    names = {module["name"] for module in notes["modules"]}
    assert len(names) > 100
    assert {"module_moe_sorting", "module_rmsnorm", "module_custom_all_reduce"} <= names
    assert not [name for name in names if "_tune" in name]
    assert not [module["name"] for module in notes["modules"] if "HipKittens" in module["third_party"]]
    assert len(notes["flydsl"]) == 1, "FlyDSL's kernels, once"
    missing = [path for module in notes["modules"] for path in module["sources"] if "3rdparty" not in path and not Path(path).exists()]
    assert missing == []
    assert not stale.exists(), "why the step comes before anything has been compiled"
    assert not (aiter.parent / ".gitconfig").exists()


def test_vllms_setup_takes_our_target_and_version(tmp_path):
    folder = copied("vllm", tmp_path / "vllm", "setup.py", "pyproject.toml", "README.md", "vllm/envs.py", "requirements", "cmake", "tools", "CMakeLists.txt")
    (step,) = [step for step in gfx950.plan(build(tmp_path, folder, tmp_path / "aiter"), EVERYTHING) if "VLLM_TARGET_DEVICE" in step.env]
    done, notes = run(step.env, folder, "record")
    assert done.returncode == 0, done.stderr[-3000:]
    said = notes["setup"]
    assert said["version"] == "0.33.0+tunefork.gfx950"
    assert {"vllm._rocm_C", "vllm.cumem_allocator", "vllm.triton_kernels"} <= set(said["extensions"])
    assert not [each for each in said["extensions"] if "flash" in each.lower()], "CUDA's are not built"
    listed = {line.split(";")[0].split("==")[0].split(">=")[0].split("[")[0].strip() for line in said["requires"]}
    assert {"numba", "datasets", "peft"} <= listed
    assert "torch" not in listed


def test_triton_kernels_is_one_folder_of_one_commit(tmp_path):
    upstream = tmp_path / "triton"
    for name, text in (("python/triton_kernels/triton_kernels/__init__.py", "A = 1\n"), ("lib/big.cpp", "int x;\n")):
        (upstream / name).parent.mkdir(parents=True, exist_ok=True)
        (upstream / name).write_text(text)
    git = ["git", "-C", str(upstream), "-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "uploadpack.allowFilter=true"]
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-qm", "one"], ["config", "uploadpack.allowFilter", "true"],
                  ["config", "uploadpack.allowAnySHA1InWant", "true"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    folder = tmp_path / "got"
    assert triton_kernels.fetch(f"file://{upstream}", commit, folder)
    assert (folder / gfx950.TRITON_KERNELS / "__init__.py").read_text() == "A = 1\n"
    assert not (folder / "lib").exists()
    assert not triton_kernels.fetch("file:///nowhere", commit, folder), "it is there: nothing is asked"


def test_a_triton_that_cannot_be_had_is_one_line(tmp_path, capsys):
    cmake = tmp_path / "vllm" / triton_kernels.CMAKE
    cmake.parent.mkdir(parents=True)
    cmake.write_text('if (VLLM_TARGET_DEVICE STREQUAL "rocm")\n  set(TRITON_GIT "file:///nowhere/triton.git")\n  # pinned\n'
                     f'  set(TRITON_KERNELS_TAG "{"a" * 40}")\n')
    assert triton_kernels.main([str(tmp_path / "vllm"), str(tmp_path / "got")]) == 4
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and "aaaaaaaaaaaa: file:///nowhere/triton.git: " in said[0] and "TRITON_KERNELS_SRC_DIR" in said[1]
    cmake.write_text("nothing of the kind\n")
    assert triton_kernels.main([str(tmp_path / "vllm"), str(tmp_path / "got")]) == 4
    assert "names no Triton for ROCm" in capsys.readouterr().out
