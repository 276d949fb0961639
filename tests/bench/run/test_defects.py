"""The eleven defects of the competition's old harness, each with what ours does in its place (the rest of each is in the named tests)."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tunefork.bench.errors import AccuracyUnknown, SubmitRefused
from tunefork.bench.gate.accuracy import judge
from tunefork.bench.load.client_vllm import arguments
from tunefork.bench.profiles import profile, rules
from tunefork.bench.run.score import score
from tunefork.bench.server import command
from tunefork.bench.submit.submit import prepare

pytestmark = pytest.mark.slow

NUMBERS = {"total_token_throughput": 800.0, "median_e2el_ms": 1000.0, "median_tpot_ms": 2.0}


@pytest.mark.parametrize("raw", [b"", b"Traceback", b"{}", b'{"results": {"wikitext": {}}}', b"| bits_per_byte | 0.1 |"])
def test_1_accuracy_that_cannot_be_read_is_no_pass(raw: bytes) -> None:
    gate = rules.read(rules.GATES / "seed.toml").accuracy
    assert gate is not None
    with pytest.raises(AccuracyUnknown):
        judge(raw, gate, {}, seconds=1.0)


def test_2_a_batch_in_which_every_conc_failed_is_no_success(world) -> None:
    world.fake = {"client": {"1": "crashes", "4": "requests-fail"}}
    done = world.run("--profile", "smoke")
    assert done.code == 13
    assert (world.batches[0] / "summary.txt").read_text().count("failed") >= 3


def test_3_a_failed_post_is_no_success(world) -> None:
    """With a quote in the team's name, to a leaderboard that is not there (what it can do wrong: tests/bench/submit)."""
    done = world.seed("--profile", "seed", "--isl", "1024", "--osl", "1024", "--conc", "4", "--mode", "submit", "--team", "O'Hara; true",
                      "--yes", "--url", "http://127.0.0.1:1")
    assert done.code == 15, done.err
    assert "nothing was sent" in done.err
    assert "the leaderboard took" not in done.err
    assert done.json["submissions"][0]["state"] == "SubmitFailed"
    record, = world.records
    journal = json.loads((world.store.path(record.id) / "submission-1.json").read_text())
    assert (journal["state"], journal["team"]) == ("unsent", "O'Hara; true")


def test_4_a_missing_baseline_sends_nothing(world) -> None:
    done = world.seed("--profile", "seed", "--isl", "1024", "--osl", "1024", "--conc", "16")
    assert done.code == 0, done.err
    written = json.loads((world.batches[0] / "result_isl1024_osl1024_conc16.json").read_text())
    assert written["b200_baseline_nv1126"] is None
    assert written["tput_per_gpu_ratio_vs_b200_1126"] is None
    with pytest.raises(SubmitRefused, match="has no baseline"):
        prepare(world.records[0], rules.read(rules.GATES / "seed.toml"), "us", tree=world.tree)


@pytest.mark.parametrize(("tp", "gpus"), [(1, 1), (4, 4), (8, 8)])
def test_5_throughput_is_divided_by_the_gpus_used(tp: int, gpus: int) -> None:
    used = profile.load("stage2").with_tensor_parallel(tp).gpus
    made = score(NUMBERS, gpus=used, isl=1, osl=1, conc=1, baseline=None)
    assert (made.divisor, made.divisor_kind, made.tput_per_gpu) == (gpus, "used", 800.0 / gpus)
    seeds = score(NUMBERS, gpus=used, isl=1, osl=1, conc=1, baseline=None, seed_divisor=True)
    assert (seeds.divisor, seeds.divisor_kind, seeds.tput_per_gpu) == (8, "seed", 100.0)


def test_6_accuracy_is_measured_once_per_server(world) -> None:
    assert world.run("--profile", "smoke", "--conc", "1", "--conc", "2", "--conc", "4").code == 0
    assert world.calls.count("lm_eval tiny_stories") == world.calls.count("serve") == 1


def test_7_no_flag_of_the_guide_is_dropped(tmp_path: Path) -> None:
    """The argument list has every one, and there is no shell and no line continuation that could lose one."""
    built = command.build(profile.load("seed"), python=Path("python"), variant_env={}, model="m", cwd=tmp_path)
    for word in ("--compilation-config", "--block-size", "--no-enable-prefix-caching", "--tensor-parallel-size", "--max-model-len"):
        assert word in built.argv


def test_8_what_is_recorded_is_what_was_checked(world) -> None:
    world.fake = {"metrics": {"byte_perplexity,none": 4.28}}
    done = world.seed("--profile", "seed", "--isl", "8192", "--osl", "1024", "--conc", "4")
    assert done.code == 0, done.err
    written = json.loads((world.batches[0] / "result_isl8192_osl1024_conc4.json").read_text())["accuracy_validation"]
    gate = tomllib.loads((rules.GATES / "seed.toml").read_text())["accuracy"]
    assert written["baselines"] == pytest.approx({one["name"]: one["reference"] for one in gate["limits"] if "reference" in one})
    assert written["limits"] == pytest.approx({"bits_per_byte": 2.117474, "byte_perplexity": 4.282431})
    assert (written["status"], written["threshold_multiplier"]) == ("PASSED", 1.03)
    world.fake = {"metrics": {"byte_perplexity,none": 4.29}}
    missed = world.seed("--profile", "seed", "--isl", "8192", "--osl", "1024", "--conc", "4")
    assert missed.code == 10
    assert missed.json["accuracy"]["status"] == "missed"


def test_9_the_client_is_the_installed_one_and_folders_never_collide(target, scenario, tmp_path: Path) -> None:
    words = arguments(target, scenario, tmp_path)
    assert words[:5] == [str(target.python), "-m", "vllm.entrypoints.cli.main", "bench", "serve"]
    from tunefork.bench.run.batch import Batch
    from tunefork.bench.run.settings import Settings
    made = [Batch.create(tmp_path, Settings(profile="smoke"), 1, 1, (1,), tree="", version="").folder for _ in range(5)]
    assert len(set(made)) == 5


def test_10_there_are_warm_ups(target, scenario, tmp_path: Path) -> None:
    words = arguments(target, scenario, tmp_path)
    assert words[words.index("--num-warmups") + 1] == str(2 * scenario.conc)


def test_11_failed_requests_fail_the_configuration(world) -> None:
    world.fake = {"client": {"4": "requests-fail"}}
    done = world.run("--profile", "smoke")
    assert done.code == 12
    assert done.statuses == {1: "passed", 4: "failed"}
    assert world.records[1].metrics is not None, "the numbers are kept, for whoever wants to look"
    assert world.records[1].score is None
