"""Experiments over real processes: a slower arm is found, equal arms are not, a kill costs one pair, failures are told."""

from __future__ import annotations

import importlib.util
import json
import math
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loading import module

from tunefork.bench.ab import experiment
from tunefork.bench.ab.plan import plan
from tunefork.bench.load import client_builtin
from tunefork.bench.load.lag import Lag
from tunefork.bench.records.schema import Record, Scenario
from tunefork.bench.records.store import Store
from tunefork.bench.server.target import Target
from tunefork.cli.main import main

here = module("ab_conftest", Path(__file__).with_name("conftest.py"))
pytestmark = pytest.mark.slow


def records(root: Path) -> list[Record]:
    return [one for one in Store(root / "work" / "records").records() if isinstance(one, Record)]


def test_a_slower_arm_is_worse(root: Path, bench: Any) -> None:
    slower = here.outcome(bench(here.server_command(4), here.server_command(12), "--pairs", "4", "--metric", "median_tpot_ms", "--name", "ab"))
    assert slower["verdict"] == "worse"
    for one in slower["scenarios"]:
        assert (one["pairs"], one["rejected"], one["verdict"]) == (4, [], "worse")
        assert 1 < one["lo"] < one["ratio"] < one["hi"]
    found = records(root)
    for one in slower["scenarios"]:
        logs = {arm: [math.log(made.metrics["median_tpot_ms"]) for made in found if made.labels["arm"] == arm and made.scenario.conc == one["conc"]]
                for arm in "AB"}
        assert one["ratio"] == pytest.approx(math.exp(statistics.mean(logs["B"]) - statistics.mean(logs["A"])), rel=1e-6), "of what was measured"
    assert len(found) == 4 * 2 * 2
    assert len({one.trial for one in found}) == 8, "a trial is one server start"
    by_pair = {(one.labels["pair"], one.scenario.conc): set() for one in found}
    for one in found:
        by_pair[one.labels["pair"], one.scenario.conc].add(one.scenario.seed)
    assert all(len(seeds) == 1 for seeds in by_pair.values()), "the same seed within a pair"
    order = [one.labels["arm"] for one in sorted(found, key=lambda one: int(one.labels["position"])) if one.scenario.conc == 1]
    assert "".join(order) == "".join(slot.arm for slot in plan(4, experiment.read(root / "work" / "experiments" / "ab" / experiment.FILE).seed))


def test_equal_arms_are_not_different(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Real servers, whose answers take the times that their command names: 4 ms a token, and a server start 0.1 % more than the one before it, up to
    0.2 %. A pair then differs by at most 0.2 %, whatever else the machine does, and the threshold is 1 %."""
    started: list[str] = []

    async def known(target: Target, scenario: Scenario, _waiting: object) -> tuple[list[client_builtin.Request], float, Lag]:
        if target.trial not in started:
            started.append(target.trial)
        token_s = float(target.server.argv[3]) / 1000 * (1 + 0.001 * (started.index(target.trial) % 3))
        requests = client_builtin.draw(scenario, scenario.num_prompts, scenario.seed)
        for request in requests:
            request.ttft_s, request.itl_s, request.output = token_s, [token_s] * (request.wanted - 1), request.wanted
            request.e2el_s = token_s * request.wanted
        return requests, 1.0, Lag()

    monkeypatch.setattr(client_builtin, "load", known)
    for name, value in here.environment(root).items():
        monkeypatch.setenv(name, value)
    words = here.words(root, here.server_command(4), here.server_command(4), "--pairs", "4", "--metric", "median_tpot_ms")
    assert main(words[words.index("bench"):]) == 0
    same = json.loads(capsys.readouterr().out)
    assert (same["verdict"], len(started)) == ("no difference", 8)
    for one in same["scenarios"]:
        assert (one["pairs"], one["rejected"], one["verdict"]) == (4, [], "no difference")
        pace = [4 * (1 + 0.001 * (start % 3)) for start in range(8)]
        order = [made.labels["arm"] for made in sorted(records(root), key=lambda made: int(made.labels["position"])) if made.scenario.conc == one["conc"]]
        logs = {arm: [math.log(value) for value, own in zip(pace, order, strict=True) if own == arm] for arm in "AB"}
        assert one["ratio"] == pytest.approx(math.exp(statistics.mean(logs["B"]) - statistics.mean(logs["A"])), rel=1e-9)


def test_more_pairs_later_keep_those_that_are_there(root: Path, bench: Any) -> None:
    arm = here.server_command(5)
    here.outcome(bench(arm, arm, "--pairs", "1", "--name", "x", "--conc", "1"))
    first = {one.id for one in records(root)}
    found = here.outcome(bench(arm, arm, "--pairs", "2", "--name", "x", "--conc", "1"))
    assert found["scenarios"][0]["pairs"] == 2
    assert first < {one.id for one in records(root)} and len(records(root)) == 4
    again = bench(arm, arm, "--pairs", "2", "--name", "x", "--conc", "1")
    assert "arm" not in again.stderr and len(records(root)) == 4, "nothing is measured twice"
    other = bench(arm, arm, "--pairs", "2", "--name", "x", "--conc", "2")
    assert other.returncode == 2 and "fixed differ" in other.stderr


def test_kill_9_costs_the_pair_it_hit_and_leaves_no_server(root: Path, bench: Any) -> None:
    arm = here.server_command(10)
    more = ("--pairs", "2", "--name", "k", "--conc", "1")
    with subprocess.Popen(here.words(root, arm, arm, *more), env=here.environment(root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 120
        while len(records(root)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    before = records(root)
    assert len(before) == 3, "killed between the two trials of pair 2"
    deadline = time.monotonic() + 30
    while here.streamers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not here.streamers(), "the guardian stops the server of a killed tool"
    found = here.outcome(bench(arm, arm, *more))
    assert (found["scenarios"][0]["pairs"], found["scenarios"][0]["rejected"]) == (2, [])
    assert len(records(root)) == 5, "pair 2 was measured again as a whole, pair 1 was not"


def test_failed_requests_spoil_the_pair_with_the_reason(root: Path, bench: Any) -> None:
    done = bench(here.server_command(5), here.server_command(5, "error"), "--pairs", "2", "--conc", "1")
    said = done.stderr
    assert said.index("pair 1 of 2") < said.index("c1: pair 1 left out: B failed: 2 of 6 requests failed") < said.index("1 pair left, about ") < said.index("pair 2 of 2"), \
        "told at once"
    one = here.outcome(done)["scenarios"][0]
    assert (one["pairs"], one["verdict"]) == (0, "inconclusive")
    assert [bad["pair"] for bad in one["rejected"]] == [0, 1]
    assert "2 of 6 requests failed" in one["rejected"][0]["reason"]


def test_an_arm_that_dies_twice_ends_the_experiment_and_is_told(root: Path, bench: Any) -> None:
    done = bench(here.server_command(5), here.server_command(5, "dies"), "--pairs", "4", "--name", "d", "--conc", "1")
    assert done.returncode == 13, done.stderr
    told = [json.loads(line) for line in (root / "work" / "experiments" / "d" / "failures.jsonl").read_text().splitlines()]
    assert [one["arm"] for one in told] == ["B", "B"]
    assert "exit code 4" in told[0]["message"]
    dead = [one for one in records(root) if one.labels["arm"] == "B"]
    assert dead and all(one.status == "failed" for one in dead)


def test_two_experiments_never_measure_at_the_same_time(root: Path) -> None:
    arm = here.server_command(5)
    children = [subprocess.Popen(here.words(root, arm, arm, "--pairs", "1", "--name", name, "--conc", "1"), env=here.environment(root),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for name in ("one", "two")]
    most = 0
    while any(child.poll() is None for child in children):
        most = max(most, len(here.streamers()))
        time.sleep(0.05)
    said = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert most == 1
    assert sum("waiting for another measurement" in text for text in said) == 1


@pytest.mark.parametrize(("more", "message"), [
    (["--metric", "speed"], "--metric speed is none of a server's, expected one of request_throughput, output_throughput, total_token_throughput"),
    (["--name", "../x"], "expected letters"),
])
def test_bad_arguments(root: Path, bench: Any, more: list[str], message: str) -> None:
    done = bench(here.server_command(5), here.server_command(5), *more)
    assert done.returncode == 2
    assert message in done.stderr


def test_one_arm_of_a_kind_is_refused(root: Path) -> None:
    command = [sys.executable, str(here.ROOT / "build.py"), "--no-venv", "bench", "ab", "--base-url-a", "http://127.0.0.1:1"]
    done = subprocess.run(command, env=here.environment(root), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "both arms of one kind" in done.stderr


def placed(root: Path) -> dict[tuple[str, str], set[str]]:
    """By pair and CONC, on which GPUs its trials ran."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in records(root):
        found.setdefault((one.labels["pair"], str(one.scenario.conc)), set()).add(one.labels["gpus"])
    return found


def test_pairs_spread_over_this_machines_gpus(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that this machine is told it has, servers of one GPU each."""
    monkeypatch.setenv("TUNEFORK_GPUS", "4,6")
    arm = here.server_command(5)
    more = ("--pairs", "4", "--name", "s", "--conc", "1", "--spread", "local")
    child = subprocess.Popen(here.words(root, arm, arm, *more), env=here.environment(root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    most = 0
    while child.poll() is None:
        most = max(most, len(here.streamers()))
        time.sleep(0.02)
    out, err = child.communicate()
    assert child.returncode == 0, err
    assert most == 2, "as many servers as GPUs"
    found = json.loads(out)["scenarios"][0]
    assert (found["pairs"], found["rejected"]) == (4, [])
    assert all(len(gpus) == 1 for gpus in placed(root).values()), "both trials of a pair on the same GPU"
    assert {gpu for gpus in placed(root).values() for gpu in gpus} == {"4", "6"}
    again = subprocess.run(here.words(root, arm, arm, *more), env=here.environment(root), capture_output=True, text=True, check=False)
    assert again.returncode == 0 and len(records(root)) == 8, "nothing is measured twice"


def test_an_arm_that_dies_ends_a_spread_experiment_too(root: Path, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_GPUS", "0")
    done = bench(here.server_command(5), here.server_command(5, "dies"), "--pairs", "4", "--name", "d", "--conc", "1", "--spread", "local")
    assert done.returncode == 13, done.stderr
    assert "2 pairs failed in a row" in done.stderr
    told = [json.loads(line) for line in (root / "work" / "experiments" / "d" / "failures.jsonl").read_text().splitlines()]
    assert [one["arm"] for one in told] == ["B", "B"]


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`): an A/B over hosts is not tested")
def test_pairs_spread_by_ray(root: Path, bench: Any) -> None:
    import ray

    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        address = ray.get_runtime_context().gcs_address
        arm = here.server_command(5)
        found = here.outcome(bench(arm, arm, "--pairs", "4", "--name", "r", "--conc", "1", "--spread", address))
    finally:
        ray.shutdown()
    assert (found["scenarios"][0]["pairs"], found["scenarios"][0]["rejected"]) == (4, [])
    assert all(len(gpus) == 1 for gpus in placed(root).values())
    assert {gpu for gpus in placed(root).values() for gpu in gpus} == {"0", "1"}
    assert len({one.host.name for one in records(root)}) == 1


@pytest.mark.parametrize(("more", "message"), [
    (["--server-cmd-a", "x {port}", "--server-cmd-b", "x {port}", "--spread", "local"], "no GPU is seen on this machine"),
    (["--base-url-a", "http://h:1", "--base-url-b", "http://h:2", "--spread", "local"], "those of --base-url run where they run"),
])
def test_what_cannot_be_spread_is_refused(root: Path, more: list[str], message: str) -> None:
    command = [sys.executable, str(here.ROOT / "build.py"), "--no-venv", "bench", "ab", *more]
    done = subprocess.run(command, env=here.environment(root), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.parametrize(("a", "b"), [("http://h:1", "http://h:1/"), ("http://localhost:1", "http://127.0.0.1:1/v1"),
                                      (f"http://{socket.gethostname()}:1", "http://0.0.0.0:1")])
def test_one_server_as_both_arms_is_refused(root: Path, a: str, b: str) -> None:
    command = [sys.executable, str(here.ROOT / "build.py"), "--no-venv", "bench", "ab", "--base-url-a", a, "--base-url-b", b]
    done = subprocess.run(command, env=here.environment(root), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "what the first trial left in its prefix cache" in done.stderr


def test_a_server_that_does_not_answer_is_told_before_anything_is_begun(root: Path) -> None:
    command = [sys.executable, str(here.ROOT / "build.py"), "--no-venv", "bench", "ab", "--base-url-a", "http://127.0.0.1:1", "--base-url-b", "http://127.0.0.1:2",
               "--client", "builtin", "--profile", str(root / "pace.toml"), "--name", "x"]
    done = subprocess.run(command, env=here.environment(root), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 9 and "http://127.0.0.1:1/health does not answer" in done.stderr
    assert not (root / "work").exists()


def test_a_url_without_its_scheme_is_refused(root: Path) -> None:
    command = [sys.executable, str(here.ROOT / "build.py"), "--no-venv", "bench", "ab", "--base-url-a", "http://h:1", "--base-url-b", "h:2"]
    done = subprocess.run(command, env=here.environment(root), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "--base-url-b h:2: expected http://HOST:PORT" in done.stderr and "--base-url-b http://h:2" in done.stderr


def test_no_two_loads_share_prompts_and_both_arms_of_a_pair_do(root: Path, bench: Any) -> None:
    arm = here.server_command(3)
    here.outcome(bench(arm, arm, "--pairs", "2", "--name", "p"))
    seeds: dict[int, set[tuple[str, int]]] = {}
    for one in records(root):
        seeds.setdefault(one.scenario.seed, set()).add((one.labels["pair"], one.scenario.conc))
    assert len(seeds) == 4 and all(len(places) == 1 for places in seeds.values())


def test_a_spoiled_pair_is_made_again(root: Path, bench: Any) -> None:
    """One request of each server's third start fails."""
    tally = root / "starts"
    done = bench(here.server_command(3), here.server_command(3, f"spoils {tally}"), "--pairs", "4", "--name", "s", "--conc", "1")
    found = here.outcome(done)["scenarios"][0]
    assert (found["pairs"], found["rejected"], found["lost"]) == (4, [], {"a": 0, "b": 1})
    assert "again: it was spoiled" in done.stderr and "requests failed" in done.stderr
    assert sum(one.labels["attempt"] == "1" for one in records(root)) == 2
