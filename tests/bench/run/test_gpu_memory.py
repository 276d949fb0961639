"""GPU memory that is not free before a server starts, or not given back after it; the tools are stand-ins that print as the real ones do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tunefork.bench.machine.gpu_memory import Memory, mib, read_amd, read_nvidia, read_rocm

pytestmark = pytest.mark.slow

SMI = Path(__file__).with_name("fake_smi.py")
LOAD = ("--profile", "seed", "--isl", "1024", "--osl", "1024", "--conc", "4", "--conc", "8", "--tp", "1")


@pytest.fixture(autouse=True)
def short(world) -> None:
    world.env["TUNEFORK_RELEASE_S"] = "1"


def test_what_the_tools_print_is_understood(tmp_path: Path) -> None:
    (tmp_path / "vram").write_text("512")
    for tool, read, words in (("amd-smi", read_amd, ["metric", "--mem-usage", "--json"]),
                              ("nvidia-smi", read_nvidia, ["--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits"]),
                              ("rocm-smi", read_rocm, ["--showmeminfo", "vram", "--json"])):
        said = subprocess.run([sys.executable, str(SMI), tool, str(tmp_path / "vram"), *words], capture_output=True, text=True, check=True).stdout
        assert read(said) == {"0": Memory(512.0, 294_896.0)}, tool
    listed = json.dumps({"gpu_data": [{"gpu": 3, "mem_usage": {"total_vram": {"value": 288, "unit": "GB"}, "used_vram": {"value": 1, "unit": "GB"}}}]})
    assert read_amd(listed) == {"3": Memory(1024.0, 294_912.0)}
    with pytest.raises(KeyError):
        mib({"value": "N/A", "unit": "MB"})


@pytest.mark.parametrize("tool", ["amd-smi", "nvidia-smi", "rocm-smi"])
def test_memory_that_comes_back_is_no_fault(world, tool: str) -> None:
    world.fake = {"vram": str(world.smi(tool))}
    done = world.seed(*LOAD)
    assert done.code == 0, done.err
    assert done.statuses == {4: "passed", 8: "passed"}
    if tool != "rocm-smi":  # which does not tell the chip's name
        assert world.records[0].host.gpus


@pytest.mark.parametrize("tool", ["amd-smi", "nvidia-smi", "rocm-smi"])
def test_memory_that_a_server_leaves_is_told_and_what_was_measured_stands(world, tool: str) -> None:
    vram = world.smi(tool)
    world.fake = {"vram": str(vram), "server": "leaks"}
    done = world.seed(*LOAD)
    assert done.code == 9, done.err
    assert "the server is gone, but 200000 of 294896 MiB of GPU 0 is still in use, 199700 MiB more than before" in done.err
    assert "no process that can be seen" in done.err
    assert done.statuses == {4: "passed", 8: "passed"}, "every number was taken while the server had its GPU"
    assert len(world.records) == 2


def test_a_second_server_is_not_started_on_a_leak_and_resume_goes_on(world) -> None:
    vram = world.smi("amd-smi")
    world.fake = {"vram": str(vram), "server": "leaks", "client": {"4": "kills-server"}}
    done = world.seed(*LOAD)
    assert done.code == 9, done.err
    assert "the server is gone, but 200000 of 294896 MiB of GPU 0 is still in use" in done.err
    assert done.statuses == {4: "failed", 8: "skipped"}
    assert world.calls.count("serve") == 1
    vram.write_text("300")
    world.fake = {"vram": str(vram)}
    again = world.run("--resume", str(world.batches[0]))
    assert again.code == 0, again.err
    assert again.statuses == {4: "passed", 8: "passed"}


def test_somebody_elses_process_is_named_and_nothing_is_started(world) -> None:
    world.smi("amd-smi", "150000 4711 python3")
    done = world.seed(*LOAD)
    assert done.code == 9, done.err
    assert "150000 of 294896 MiB of GPU 0 is in use before the server starts (by 4711, python3)" in done.err
    assert done.statuses == {4: "skipped", 8: "skipped"}
    assert (world.calls, world.records) == ([], [])


def test_memory_that_is_just_being_released_is_waited_for(world) -> None:
    world.env["TUNEFORK_RELEASE_S"] = "20"
    vram = world.smi("amd-smi", "150000")
    world.fake = {"vram": str(vram)}
    world.target = "gfx950"
    process = world.start("run", "--json", "--port", str(world.port), "--model", "/weights", *LOAD)
    assert process.stderr is not None
    for line in process.stderr:
        if "waiting for 150000 of 294896 MiB of GPU 0 to be released" in line:
            break
    vram.write_text("300")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


def test_another_tenants_gpu_is_not_ours_to_judge(world) -> None:
    vram = world.smi("amd-smi", "150000 4711 python3")
    world.env["HIP_VISIBLE_DEVICES"] = "1"
    world.fake = {}
    assert vram.exists()
    done = world.seed(*LOAD[:-2], "--tp", "1")
    assert done.code == 0, done.err
