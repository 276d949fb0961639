"""The competition guide's own words: its variables, its mode and team, what it sends of a batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.profiles import rules
from tunefork.bench.run.settings import left_out, settings

# What `source specific_conc_var.sh` leaves in the shell, of the seed version.
SCRIPT = {"MODEL": "openai/gpt-oss-120b", "PORT": "8888", "TP": "8", "MAX_MODEL_LEN": "16384", "ISL": "1024", "OSL": "1024", "CONC": "8",
          "RANDOM_RANGE_RATIO": "1.0", "NUM_PROMPTS": "80", "RESULT_FILENAME": "result_isl1024_osl1024_conc8"}
FOR_ONE = {"CONC", "NUM_PROMPTS", "RESULT_FILENAME"}


def asked(**options: Any) -> tuple[Any, set[str]]:
    made, taken = settings({"profile": "seed", "conc": (), **options}, SCRIPT)
    assert not set(taken) & set(left_out({"profile": "seed", "conc": (), **options}, SCRIPT))
    return made, set(SCRIPT) - set(taken)


def test_the_script_alone_is_its_one_configuration() -> None:
    made, unused = asked()
    assert (made.isl, made.osl, made.conc, made.num_prompts, made.port, made.result_filename) == (
        1024, 1024, (8,), 80, 8888, "result_isl1024_osl1024_conc8")
    assert not unused


def test_isl_and_osl_ask_for_every_conc_as_the_guides_do() -> None:
    made, unused = asked(isl=8192, osl=1024)
    assert (made.isl, made.conc, made.num_prompts, made.result_filename) == (8192, (), None, None)
    assert unused == {*FOR_ONE, "ISL", "OSL"}


@pytest.mark.parametrize("conc", [(16,), (4, 8)])
def test_the_prompts_of_one_conc_are_not_anothers(conc: tuple[int, ...]) -> None:
    made, unused = asked(conc=conc)
    assert (made.conc, made.num_prompts, made.result_filename) == (conc, None, None)
    assert unused == FOR_ONE
    assert asked(conc=(8,))[0].num_prompts == 80, "the script's own CONC"


def test_a_running_server_keeps_its_port() -> None:
    made, unused = asked(base_url="http://127.0.0.1:8888")
    assert (made.port, made.max_model_len, made.conc) == (None, None, (8,))
    assert unused == {"PORT", "MAX_MODEL_LEN"}


def test_gsm8k_of_stage_2() -> None:
    made, taken = settings({"profile": "stage2", "conc": ()}, {"GSM8K_BASELINE_METRIC": "0.58", "GSM8K_TOL": "0.05"})
    assert set(taken) == {"GSM8K_BASELINE_METRIC", "GSM8K_TOL"}
    found = rules.read(rules.GATES / "stage2.toml").with_gsm8k(made.gsm8k_baseline, made.gsm8k_tol).accuracy
    assert found is not None
    assert (found.limits[0].at_least, found.limits[0].tolerance) == (0.58, 0.05)
    assert "no gsm8k gate" in left_out({"profile": "seed", "conc": ()}, {"GSM8K_TOL": "0.05"})["GSM8K_TOL"]
    with pytest.raises(BadInput) as refused:
        settings({"profile": "stage2", "conc": ()}, {"GSM8K_TOL": "five"})
    assert refused.value.remedy == "unset GSM8K_TOL"


@pytest.mark.slow
@pytest.mark.parametrize(("value", "code"), [(0.54, 0), (0.52, 10)])
def test_the_tolerance_is_what_was_checked_and_what_is_written(world: Any, value: float, code: int) -> None:
    world.env.update(GSM8K_BASELINE_METRIC="0.58", GSM8K_TOL="0.05")
    world.fake = {"metrics": {"exact_match,flexible-extract": value}}
    done = world.seed("--profile", "stage2", "--conc", "4")
    assert done.code == code, done.err
    assert "from the environment: GSM8K_TOL=0.05" in done.err
    if code == 0:
        written = json.loads((world.batches[0] / "result_isl8192_osl1024_conc4.json").read_text())["accuracy_validation"]
        assert (written["baselines"], written["tolerance"]) == ({"gsm8k_metric": 0.58}, 0.05)
        assert written["limits"]["gsm8k_metric"] == pytest.approx(0.53)
    else:
        assert "must be at least 0.53" in done.json["error"]["message"]


@pytest.mark.slow
def test_the_servers_log_goes_where_the_guide_says(world: Any, tmp_path: Path) -> None:
    world.env["SERVER_LOG"] = str(tmp_path / "vllm-server-1.log")
    done = world.run("--profile", "smoke", "--conc", "1")
    assert done.code == 0, done.err
    assert f"log: {tmp_path}/vllm-server-1.log" in done.err
    assert "serve" in (tmp_path / "vllm-server-1.log").read_text()
    assert world.records[0].server.log == str(tmp_path / "vllm-server-1.log")
    world.env["SERVER_LOG"] = str(tmp_path)
    refused = world.run("--profile", "smoke", "--conc", "1")
    assert refused.code == 2
    assert "expected a file that can be written" in refused.err


class TestSubmit:
    """`submit "Team" -isl 1024 -osl 1024`, as written, to a leaderboard that is not there: what would have been sent is in the answer."""

    WORDS = ("--profile", "seed", "--yes", "submit", "O'Hara", "-isl", "1024", "-osl", "1024")

    @pytest.mark.slow
    def test_a_conc_without_a_baseline_is_left_out(self, world: Any) -> None:
        world.env["LB_URL_OVERRIDE"] = "http://127.0.0.1:1"
        done = world.seed(*self.WORDS)
        assert done.statuses == {4: "passed", 8: "passed", 16: "passed"}, done.err
        assert "measured and not submitted, since no baseline was published: 1024/1024 CONC 16" in done.err
        assert [one["state"] for one in done.json["submissions"]] == ["SubmitFailed"] * 2, "nobody answers at port 1"
        assert done.code == 15

    @pytest.mark.slow
    def test_a_failed_conc_holds_back_no_other(self, world: Any) -> None:
        world.env.update(LB_URL_OVERRIDE="http://127.0.0.1:1")
        world.fake = {"client": {"8": "requests-fail"}}
        done = world.seed(*self.WORDS)
        assert done.statuses == {4: "passed", 8: "failed", 16: "passed"}, done.err
        assert len(done.json["submissions"]) == 1
        assert done.code == 15, "graver than 12"

    @pytest.mark.slow
    def test_all_or_nothing(self, world: Any) -> None:
        world.env.update(TEAM_NAME_ENV="us", LB_URL_OVERRIDE="http://127.0.0.1:1")
        world.fake = {"client": {"8": "requests-fail"}}
        done = world.seed("--profile", "seed", "--yes", "--mode", "submit", "--conc", "4,8", "--isl", "1024", "--osl", "1024", "--all-or-nothing")
        assert done.code == 12, done.err
        assert "nothing was submitted" in done.err
        assert "from the environment: TEAM_NAME_ENV=us" in done.err

    @pytest.mark.slow
    @pytest.mark.parametrize(("words", "says"), [
        (("submit", "Team", "-isl", "1024", "-osl", "1024", "--conc", "16"), ("not used: TEAM_NAME_ENV=us (the team was typed: Team)", ": LB_URL_OVERRIDE=")),
        (("submit", "--conc", "16", "-isl", "1024", "-osl", "1024"), (": TEAM_NAME_ENV=us\n", ": LB_URL_OVERRIDE=")),
        (("--mode", "acc"), ("not used: TEAM_NAME_ENV=us (--mode submit sends)", "not used: LB_URL_OVERRIDE=http://127.0.0.1:1 (--mode submit sends)")),
    ])
    def test_the_variables_of_a_submission_say_what_became_of_them(self, world: Any, words: tuple[str, ...], says: tuple[str, ...]) -> None:
        world.env.update(TEAM_NAME_ENV="us", LB_URL_OVERRIDE="http://127.0.0.1:1")
        said = world.bench("run", "--profile", "seed", *words).err
        assert all(f"from the environment{', ' * (one[0] == 'n')}{one}" in said for one in says), said

    def test_a_mode_said_twice_is_refused(self, world: Any) -> None:
        done = world.run("--profile", "smoke", "--mode", "perf", "acc")
        assert done.code == 2
        assert "said twice" in done.err
