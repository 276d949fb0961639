"""Commands spread over GPUs: never two on one, each sees its own, a failure or a kill is told; the same by a local Ray with made-up GPUs."""

from __future__ import annotations

import importlib.util
import json
import platform
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tunefork.base.errors import BadInput, MissingTool
from tunefork.bench.machine import devices
from tunefork.bench.machine.spread import Ended, Local, Ray, Task, spread

pytestmark = pytest.mark.slow

HERE = Path(__file__)
JOB = """
import json, os, sys, time
begin = time.time()
time.sleep(float(sys.argv[2]))
with open(sys.argv[1], "a") as out:
    out.write(json.dumps({"gpus": os.environ.get("HIP_VISIBLE_DEVICES"), "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"), "from": begin, "to": time.time()}) + chr(10))
sys.exit(int(sys.argv[3]))
"""
MEET = """
import os, sys, time
with open(sys.argv[1], "a") as met:
    met.write("x")
while os.path.getsize(sys.argv[1]) < int(sys.argv[2]):
    time.sleep(0.01)
"""
HANG_S = 300.0
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`): spreading over hosts is not tested")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))


def task(folder: Path, name: str, gpus: int, *, seconds: float = 0.3, code: int = 0, deadline_s: float = 60.0) -> Task:
    return Task(name, (sys.executable, "-c", JOB, str(folder / "out"), str(seconds), str(code)), gpus, folder, folder / f"{name}.log", deadline_s)


def overlaps(out: Path) -> list[tuple[str, float, float]]:
    """Uses of one GPU that overlap in time."""
    uses = defaultdict(list)
    for line in out.read_text().splitlines():
        said = json.loads(line)
        assert said["gpus"] == said["cuda"], "vLLM on ROCm wants both names to agree"
        for gpu in said["gpus"].split(","):
            uses[gpu].append((said["from"], said["to"]))
    return [(gpu, first[1], second[0]) for gpu, spans in uses.items()
            for first, second in zip(sorted(spans), sorted(spans)[1:], strict=False) if second[0] < first[1]]


def test_never_two_on_one_gpu_and_all_are_done(tmp_path: Path) -> None:
    tasks = [task(tmp_path, f"t{number}", 1 + number % 2) for number in range(6)]
    ended = list(spread(tasks, Local(("0", "1", "2"))))
    assert {one.task.name for one in ended} == {one.name for one in tasks}
    assert all(one.good and one.host == platform.node() and len(one.gpus) == one.task.gpus for one in ended)
    assert overlaps(tmp_path / "out") == []


def test_as_many_as_fit_run_beside_each_other(tmp_path: Path) -> None:
    """Each of three waits for the other two to have begun."""
    tasks = [Task(f"t{number}", (sys.executable, "-c", MEET, str(tmp_path / "met"), "3"), 1, tmp_path, tmp_path / f"t{number}.log", HANG_S)
             for number in range(3)]
    assert all(one.good for one in spread(tasks, Local(("0", "1", "2"))))


def test_tasks_without_a_gpu_take_slots(tmp_path: Path) -> None:
    ended = list(spread([task(tmp_path, f"t{number}", 0, seconds=0.1) for number in range(3)], Local((), slots=2)))
    assert [one.gpus for one in ended] == [()] * 3
    assert [json.loads(line)["gpus"] for line in (tmp_path / "out").read_text().splitlines()] == [None] * 3


def test_a_failure_a_late_one_and_one_that_cannot_start_are_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    missing = Task("missing", ("/no/such/program",), 1, tmp_path, tmp_path / "missing.log", 60)
    tasks = [task(tmp_path, "fails", 1, code=3), task(tmp_path, "late", 1, seconds=600, deadline_s=0.5), missing, task(tmp_path, "good", 1)]
    ended = {one.task.name: one for one in spread(tasks, Local(("0",)))}
    assert ended["fails"].finished.exit_code == 3
    assert ended["late"].finished.late
    assert "cannot start /no/such/program" in ended["missing"].problem
    assert [name for name, one in ended.items() if one.good] == ["good"]


def test_what_can_never_have_its_gpus_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="t asks for 2 GPUs, this machine has 1"):
        list(spread([task(tmp_path, "u", 1), task(tmp_path, "t", 2)], Local(("0",))))
    assert not (tmp_path / "out").exists()


def test_closing_early_stops_what_runs(tmp_path: Path) -> None:
    running = spread([task(tmp_path, "short", 1, seconds=0.1), task(tmp_path, "long", 1, seconds=600)], Local(("0", "1")))
    assert next(running).task.name == "short"
    running.close()
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path / "out") in (one.info["cmdline"] or [])]


def test_two_tools_of_one_user_never_share_a_gpu(tmp_path: Path) -> None:
    """Each counts its own GPUs; between them stand the locks."""
    found: list[list[Ended]] = []

    def tool(name: str) -> None:
        found.append(list(spread([task(tmp_path, f"{name}{number}", 1) for number in range(2)], Local(("0",)))))

    threads = [threading.Thread(target=tool, args=(name,)) for name in "ab"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(len(part) for part in found) == 4
    assert overlaps(tmp_path / "out") == []


def test_a_measurement_that_wants_the_machine_waits_for_those_beside_each_other(tmp_path: Path) -> None:
    order: list[str] = []
    cache = tmp_path / "cache"

    said = threading.Event()

    def say(text: str) -> None:
        order.append(text)
        said.set()

    def alone() -> None:
        with devices.machine(cache, say):
            order.append("alone")

    with devices.beside(cache, ("0",), order.append):
        with devices.beside(cache, ("1",), order.append):
            order.append("two beside")
        waiting = threading.Thread(target=alone)
        waiting.start()
        assert said.wait(HANG_S), "it did not say that it waits"
        order.append("released")
    waiting.join()
    assert order == ["two beside", devices.WAITING, "released", "alone"]


@pytest.mark.parametrize(("environment", "gpus"), [
    ({}, ("0", "1", "2", "3")),
    ({"HIP_VISIBLE_DEVICES": "2,3"}, ("2", "3")),
    ({"CUDA_VISIBLE_DEVICES": "1"}, ("1",)),
    ({"ROCR_VISIBLE_DEVICES": "4,5,6"}, ("4", "5", "6")),
    ({"ROCR_VISIBLE_DEVICES": "4,5,6", "HIP_VISIBLE_DEVICES": "1"}, ("5",)),
    ({"CUDA_VISIBLE_DEVICES": "GPU-af1e"}, ("GPU-af1e",)),
    ({"HIP_VISIBLE_DEVICES": "0", devices.GIVEN: "3"}, ("3",)),
])
def test_visible_gpus_are_those_of_the_host(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], gpus: tuple[str, ...]) -> None:
    machine = devices.host.host().model_copy(update={"gpus": ("chip",) * 4})
    monkeypatch.setattr(devices.host, "host", lambda: machine)
    assert devices.visible(environment) == gpus


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingTool, match="Ray, which is not installed here"):
        list(spread([task(tmp_path, "t", 1)], Ray()))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of this machine that believes in two GPUs."""
    import ray

    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_ray_gives_each_its_gpus(tmp_path: Path) -> None:
    tasks = [*(task(tmp_path, f"t{number}", 1) for number in range(4)), task(tmp_path, "both", 2), task(tmp_path, "fails", 1, code=3)]
    ended = {one.task.name: one for one in spread(tasks, Ray())}
    assert {name for name, one in ended.items() if one.good} == {"t0", "t1", "t2", "t3", "both"}
    assert ended["fails"].finished.exit_code == 3, "and it was tried once"
    assert ended["both"].gpus == ("0", "1")
    assert {one.host for one in ended.values()} == {platform.node()}
    assert overlaps(tmp_path / "out") == []
    assert len((tmp_path / "out").read_text().splitlines()) == 6


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_what_ray_can_never_give_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="asks for 3 GPUs of one host, Ray knows 2"):
        list(spread([task(tmp_path, "t", 3)], Ray()))


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_closing_early_stops_what_ray_runs(tmp_path: Path) -> None:
    running = spread([task(tmp_path, "short", 1, seconds=0.1), task(tmp_path, "long", 1, seconds=600)], Ray())
    assert next(running).task.name == "short"
    running.close()

    def left() -> list[psutil.Process]:
        return [one for one in psutil.process_iter(["cmdline"]) if str(tmp_path / "out") in (one.info["cmdline"] or [])]

    deadline = time.monotonic() + 30
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left(), "the guardian ends what Ray's worker leaves"
