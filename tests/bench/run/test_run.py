"""`bench run` with stand-ins: the three modes, what it writes, its exit codes; a failed CONC is marked and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.run.settings import address
from tunefork.bench.run.summary import accuracy_lines
from tunefork.cli.bench import run as bench_run
from tunefork.cli.main import main

SMOKE = ("--profile", "smoke")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """here(arguments...): `bench run` in this process, for what ends before anything starts; its code and what it said."""
    monkeypatch.setenv("TUNEFORK_ROOT", str(tmp_path))
    monkeypatch.setattr(bench_run, "on_signal", lambda _handler: None)

    def call(*arguments: str) -> tuple[int, str]:
        code = main(["bench", "run", *arguments])
        return code, capsys.readouterr().err

    return call


@pytest.mark.slow
def test_a_good_run(world) -> None:
    done = world.run(*SMOKE)
    assert done.code == 0, done.err
    assert done.statuses == {1: "passed", 4: "passed"}
    assert done.json["profile"] == "smoke"
    assert done.json["accuracy"]["status"] == "passed"
    assert world.calls == ["serve", "lm_eval tiny_stories", "client 1", "client 4"], "one server, one gate, each CONC once"
    batch, = world.batches
    assert batch.name.startswith("batch_isl64_osl32_")
    assert sorted(path.name for path in batch.glob("*.json")) == [
        "accuracy.json", "batch.json", "result_isl64_osl32_conc1.json", "result_isl64_osl32_conc4.json"]
    first = done.json["configurations"][0]
    record = world.store.verify(first["record"])
    assert (record.status, record.scenario.warmups, record.scenario.num_prompts) == ("passed", 2, 10)
    assert record.trees[0].commit == "b" * 40
    assert record.trees[0].patches == ("one", "two")
    assert record.timing is not None
    assert min(record.timing.before_s, record.timing.after_s) >= 0 and record.timing.client_s > 0
    assert {"client.json.gz", "client.log", "lm_eval.json"} <= set(world.store.files(record.id))
    # By hand: 10 requests one after another, each 50 ms + 31 x 10 ms = 360 ms for 64 + 32 tokens.
    assert first["score"]["tput_per_gpu"] == pytest.approx(96 / 0.36)
    assert first["score"]["median_e2el_ms"] == pytest.approx(360)
    assert first["score"]["interactivity"] == pytest.approx(100)


@pytest.mark.slow
def test_every_run_has_prompts_of_its_own(world) -> None:
    """A server that caches prefixes would know the second run's; the seed in the record makes them again."""
    for more in ((), (), ("--seed", "7"), ("--seed", "7")):
        assert world.run(*SMOKE, "--conc", "1", *more).code == 0
    first, second, third, fourth = (one.scenario.seed for one in sorted(world.records, key=lambda one: one.created))
    assert len({first, second, third}) == 3 and third == fourth


@pytest.mark.slow
def test_acc_times_nothing(world) -> None:
    done = world.run(*SMOKE, "--mode", "acc")
    assert done.code == 0, done.err
    assert world.calls == ["serve", "lm_eval tiny_stories"]
    assert done.json["configurations"] == []
    assert done.json["accuracy"]["metrics"]["bits_per_byte"] == 0.7510


@pytest.mark.slow
def test_the_guides_variables(world) -> None:
    world.env = {"ISL": "32", "OSL": "8", "CONC": "2", "NUM_PROMPTS": "6", "RESULT_FILENAME": "mine", "PORT": str(world.port)}
    done = world.bench("run", "--json", *SMOKE)
    assert done.code == 0, done.err
    assert "from the environment: ISL=32" in done.err
    assert [(one["isl"], one["osl"], one["conc"]) for one in done.json["configurations"]] == [(32, 8, 2)]
    written = json.loads((world.batches[0] / "mine.json").read_text())
    assert written["benchmark_args"]["num_prompts"] == 6
    assert written["benchmark_args"]["base_url"].endswith(f":{world.port}")


@pytest.mark.slow
def test_an_option_wins_over_a_variable(world) -> None:
    world.env = {"CONC": "7"}
    done = world.run(*SMOKE, "--conc", "2")
    assert done.statuses == {2: "passed"}
    assert "CONC=7" not in done.err


FAULTS = {
    2: ("requests-fail", "3 of 20 requests failed; the first: Internal Server Error"),
    3: ("nan", "the client's median_tpot_ms is nan"),
    4: ("short", "1 of 40 answers have another length than 32 tokens; the first: 31"),
    5: ("missing", "the client's answer lacks median_e2el_ms"),
    6: ("crashes", "the client ended with exit code 1: Traceback: ValueError: no route"),
    7: ("no-answer", "the client left no answer"),
    8: ("half", "the client left no answer"),
}


@pytest.mark.slow
def test_failed_concs_are_marked_and_the_rest_goes_on(world) -> None:
    world.fake = {"client": {str(conc): fault for conc, (fault, _) in FAULTS.items()}}
    done = world.run(*SMOKE, *(word for conc in range(1, 10) for word in ("--conc", str(conc))))
    assert done.code == 12
    assert done.statuses == {1: "passed", **dict.fromkeys(FAULTS, "failed"), 9: "passed"}
    summary = (world.batches[0] / "summary.txt").read_text()
    problems = {one["conc"]: one["problem"] for one in done.json["configurations"]}
    for conc, (_, says) in FAULTS.items():
        assert says in problems[conc]
        assert says in summary
        assert not (world.batches[0] / f"result_isl64_osl32_conc{conc}.json").exists()
    assert [record.status for record in world.records if record.score] == ["passed", "passed"]
    assert len(world.records) == 9, "a failure leaves a record too"


@pytest.mark.slow
def test_all_failed_is_13(world) -> None:
    world.fake = {"client": {"1": "crashes", "4": "crashes"}}
    done = world.run(*SMOKE)
    assert done.code == 13
    assert done.json["error"]["kind"] == "NothingMeasured"


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "says"), [("nan", "bits_per_byte,none is nan"), ("crashes", "exit code 1: ConnectionError")])
def test_an_accuracy_that_is_not_known_ends_the_run_with_11(world, fault: str, says: str) -> None:
    world.fake = {"lm_eval": fault}
    done = world.run(*SMOKE)
    assert done.code == 11
    assert says in done.json["error"]["message"]
    assert done.statuses == {1: "skipped", 4: "skipped"}
    assert not any(call.startswith("client") for call in world.calls)


@pytest.mark.slow
def test_a_missed_gate_is_10_and_times_nothing(world) -> None:
    world.fake = {"metrics": {"bits_per_byte,none": 0.7486 * 1.0301}}
    done = world.run(*SMOKE)
    assert done.code == 10
    assert "bits_per_byte is 0.7711, must be at most 0.7711" in done.err
    assert world.calls == ["serve", "lm_eval tiny_stories"]
    assert done.json["accuracy"]["status"] == "missed"
    assert "MISSED" in (world.batches[0] / "summary.txt").read_text()


@pytest.mark.slow
def test_a_server_that_does_not_start_is_9(world) -> None:
    world.fake = {"server": "dies"}
    done = world.run(*SMOKE)
    assert done.code == 9
    assert "no such device" in done.json["error"]["message"]
    assert done.statuses == {1: "skipped", 4: "skipped"}


@pytest.mark.parametrize(("arguments", "says"), [
    (("--isl", "4"), "--isl and --osl go together"), (("--conc", "0"), "different positive integers"),
    (("--isl", "7", "--osl", "7"), "does not say which CONC"), (("--mode", "submit"), "--team NAME"),
    (("--", "-tp", "4"), "past the count of GPUs"), (("--", "--data-parallel-size=2"), "past the count of GPUs"),
    (("--resume", "/"), "--profile would change them"),
    (("--base-url", "0.0.0.0:8888"), "--base-url 0.0.0.0:8888: expected http://HOST:PORT"),
    (("--base-url", "http://x", "--variant", "base"), "--base-url uses a server that runs"), (("--tp", "0"), "tp:"),
])
def test_bad_input_is_2(here, arguments: tuple[str, ...], says: str) -> None:
    code, said = here(*SMOKE, *arguments)
    assert code == 2
    assert says in said


@pytest.mark.parametrize(("typed", "reached"), [
    ("http://h:8000", "http://h:8000"), ("https://h/v1/", "https://h"), ("http://0.0.0.0:80/v1", "http://127.0.0.1:80"),
    ("http://[::]:8000/", "http://[::1]:8000"), ("http://0.0.0.0", "http://127.0.0.1"), ("http://10.0.0.0:1", "http://10.0.0.0:1"),
])
def test_an_address_is_where_a_client_reaches_it(typed: str, reached: str) -> None:
    assert address("--base-url", typed) == reached


@pytest.mark.parametrize("typed", ["http://", "https://", "http:///v1", "http://?x", "http://a b", "http://:8000", "http://h:1?x=2", "http://h\n"])
def test_an_address_without_a_host_is_none(typed: str) -> None:
    with pytest.raises(BadInput, match="expected http://HOST:PORT"):
        address("--base-url", typed)


def test_a_port_that_is_none_is_said(here) -> None:
    code, said = here(*SMOKE, "--base-url", "http://h:port")
    assert code == 2 and "--base-url http://h:port: expected http://HOST:PORT" in said


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_running_server_is_measured_and_left_running(world, host: str) -> None:
    server = world.serve()
    try:
        done = world.bench("run", "--json", *SMOKE, "--conc", "2", "--base-url", f"http://{host}:{world.port}/v1", "--gpus", "2")
        assert done.code == 0, done.err
        assert server.poll() is None, "not ours to stop"
    finally:
        server.kill()
        server.wait()
    record, = world.records
    assert (record.server.own, record.server.gpus, record.vllm) == (False, 2, None)
    assert record.server.base_url == f"http://127.0.0.1:{world.port}", "by one name, whatever was typed: proxies go by it, and what chip it is"
    assert record.score.tput_per_gpu == pytest.approx(record.metrics["total_token_throughput"] / 2)


@pytest.mark.slow
def test_a_client_whose_loop_was_late_did_not_measure_the_server(world) -> None:
    world.fake["lags"] = [[number * 0.02, 0.9] for number in range(300)]
    done = world.run(*SMOKE)
    assert done.statuses == {1: "failed", 4: "failed"}, done.err
    record = world.records[0]
    assert record.problems[0].kind == "client-limit" and "late by 900 ms" in record.problems[0].message
    assert record.metrics["client_lag_p99_ms"] == pytest.approx(900)
    assert not list(world.batches[0].rglob("lags.json")), "the record holds what they say"


@pytest.mark.slow
@pytest.mark.parametrize(("more", "code", "says"), [
    (("--profile", "seed"), 9, "serves tiny, not openai/gpt-oss-120b"),
    ((*SMOKE, "--conc", "2"), 2, "ISL 64 + OSL 32 = 96 tokens, the server takes 90"),
])
def test_a_running_server_is_asked_before_a_folder_is_made(world, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], code: int, says: str) -> None:
    monkeypatch.setenv("FAKE", json.dumps({"longest": 90}))
    server = world.serve()
    try:
        done = world.bench("run", "--json", *more, "--base-url", f"http://127.0.0.1:{world.port}")
    finally:
        server.kill()
        server.wait()
    assert (done.code, says in done.err) == (code, True), done.err
    assert not (world.root / "work" / "bench").exists()


@pytest.mark.slow
def test_a_server_that_does_not_answer_makes_no_folder(world) -> None:
    done = world.bench("run", *SMOKE, "--base-url", f"http://127.0.0.1:{world.port}")
    assert done.code == 9 and "/health does not answer" in done.err
    assert not (world.root / "work" / "bench").exists()


def test_an_accuracy_that_was_not_reached_is_not_called_absent() -> None:
    seed = rules.load(profiles.load("seed"))
    assert accuracy_lines(None, seed) == ["accuracy: not measured"]
    assert accuracy_lines(None, Rules()) == ["accuracy: not measured (the profile has no gate)"]


@pytest.mark.parametrize(("arguments", "code", "says"), [
    (("--profile", "smoke", "--team", "us"), 14, "profile smoke has no leaderboard"),
    (("--profile", "seed", "--team", "us", "--isl", "1024", "--osl", "1024", "--all-or-nothing"), 14, "no baseline was published for 1024/1024 CONC 16"),
    (("--profile", "seed", "--team", "us", "--isl", "1024", "--osl", "1024", "--conc", "16"), 14, "no baseline was published for 1024/1024 CONC 16"),
    (("--profile", "seed", "--isl", "1024", "--osl", "1024"), 2, "export TEAM_NAME_ENV=NAME"),
    (("--profile", "stage2", "--team", "us"), 2, "nobody is here to say yes"),
    (("--profile", "stage2", "--team", " "), 2, "a team is needed"),
])
def test_what_could_not_be_submitted_is_not_measured(here, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    ended, said = here("--mode", "submit", *arguments)
    assert ended == code
    assert says in said
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_what_is_no_batch_cannot_be_resumed(here) -> None:
    code, said = here("--resume", "/")
    assert code == 2
    assert "/ is no batch" in said


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_2(world) -> None:
    done = world.run(*SMOKE, "--out", "/proc/nowhere")
    assert done.code == 2
    assert "cannot make /proc/nowhere/batch_isl64_osl32_" in done.err


@pytest.mark.slow
def test_a_disk_that_fills_while_measuring_is_17(world) -> None:
    """The client fills the results folder: here, by taking the place of the next configuration's folder."""
    world.fake = {"client": {"1": "blocks"}}
    done = world.run(*SMOKE)
    assert done.code == 17, done.err
    assert done.statuses == {1: "passed", 4: "failed"}
    assert "cannot write" in done.json["error"]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("on", [True, False])
def test_a_prefix_cache_is_told_and_recorded(world, on: bool) -> None:
    world.fake = {"prefix_cache": on}
    done = world.run(*SMOKE, "--conc", "1")
    assert done.code == 0, done.err
    assert ("the server's prefix cache is on" in done.err) == on
    assert world.records[0].server.prefix_cache is on
    assert ("prefix cache was on" in (world.batches[0] / "summary.txt").read_text()) == on


@pytest.mark.slow
def test_the_prefix_cache_of_a_running_server_is_told(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", json.dumps({"prefix_cache": True}))
    server = world.serve()
    try:
        done = world.bench("run", "--json", *SMOKE, "--conc", "2", "--base-url", f"http://127.0.0.1:{world.port}")
    finally:
        server.kill()
        server.wait()
    assert done.code == 0, done.err
    assert "the server's prefix cache is on" in done.err
    assert world.records[0].server.prefix_cache is True
