"""Which target a machine gets, and what it is told where it cannot have one."""

from dataclasses import replace

import pytest
from develop_workshop import CPU_MACHINE, GPU_MACHINE

from tunefork.base.errors import BadInput, MissingTool
from tunefork.develop import targets
from tunefork.develop.machine import TorchBuild
from tunefork.develop.targets import Choice, choose, keeps_from_cpu

NO_TORCH = replace(GPU_MACHINE, torch=None)


def test_auto_takes_what_the_machine_has():
    assert choose("auto", CPU_MACHINE) == Choice("cpu", (), "no AMD GPU (/dev/kfd) and no ROCm torch here")
    assert choose("auto", GPU_MACHINE) == Choice("gfx950", ("gfx950",), "this Python has a ROCm torch (2.13.0+rocm7.2)")
    assert choose("auto", replace(GPU_MACHINE, kfd=False, gpus=())).target == "gfx950"


def test_a_gpu_without_rocm_torch_is_told_so_rather_than_given_cpu():
    with pytest.raises(MissingTool) as caught:
        choose("auto", NO_TORCH)
    assert "this Python has no torch" in caught.value.message
    assert "build.py container" in caught.value.remedy


def test_other_gpus_of_the_machine_are_built_for_too():
    machine = replace(GPU_MACHINE, gpus=("gfx942",))
    assert choose("gfx950", machine).architectures == ("gfx942", "gfx950")
    assert choose("gfx950", machine, ("gfx950",)).architectures == ("gfx950",)


def test_cpu_refuses_architectures_and_machines_it_has_no_operators_for(monkeypatch):
    with pytest.raises(BadInput, match="GPU architectures"):
        choose("cpu", CPU_MACHINE, ("gfx950",))
    with pytest.raises(MissingTool, match="this machine is aarch64"):
        choose("cpu", replace(CPU_MACHINE, architecture="aarch64"))
    monkeypatch.setattr(targets.sys, "version_info", (3, 15, 0))
    with pytest.raises(MissingTool, match=r"locked for Python 3\.11 to 3\.14") as caught:
        choose("cpu", CPU_MACHINE)
    assert caught.value.remedy == targets.with_another_python()


def test_another_python_begins_with_the_end_of_this_ones_environment(tmp_path, monkeypatch):
    """Where python3 is newer, `python3.13 build.py develop` went on in the environment that it had made, and said the same again."""
    there = {"python3.12": "/usr/bin/python3.12"}
    monkeypatch.setattr(targets.shutil, "which", there.get)
    monkeypatch.setattr(targets.sys, "prefix", str(tmp_path))
    assert targets.with_another_python() == "`python3.12 build.py develop`"
    (tmp_path / "tunefork-ready").touch()
    again = f"`rm -rf {tmp_path}`, then `python3.12 build.py develop`, which makes it again"
    assert targets.with_another_python() == again
    there.clear()
    assert targets.with_another_python() == "install one with its venv (Debian: apt-get install python3.14-venv), then " + again.replace("3.12", "3.14")
    rocm = replace(CPU_MACHINE, torch=TorchBuild("2.12.0+rocm7.2", "7.2", None))
    with pytest.raises(MissingTool, match="ROCm torch 2.12.0") as caught:
        choose("cpu", rocm)
    assert caught.value.remedy == f"use --target gfx950 here, or `rm -rf {tmp_path}`, then build.py with a Python that has none, which makes it again"


def test_what_target_cpu_would_replace():
    assert keeps_from_cpu(GPU_MACHINE.torch, None) == "this environment has a ROCm torch (2.13.0+rocm7.2)"
    assert keeps_from_cpu(None, "gfx950") == "this environment is developed for gfx950"
    assert keeps_from_cpu(TorchBuild("2.13.0+cu130", None, "13.0"), "cpu") == keeps_from_cpu(None, None) == ""


def test_a_misspelt_target():
    with pytest.raises(BadInput, match="no such target: 'gfx90'"):
        choose("gfx90", CPU_MACHINE)
