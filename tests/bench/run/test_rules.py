"""Gates as data, settings, and the load that they make."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.errors import AccuracyUnknown
from tunefork.bench.gate.accuracy import answer as answer_file
from tunefork.bench.gate.accuracy import arguments, judge, manifest
from tunefork.bench.load import load
from tunefork.bench.profiles import profile, rules
from tunefork.bench.run import settings as configure
from tunefork.bench.run.settings import Settings, settings

OWN = """
description = "mine"
targets = ["cpu"]
model = "tiny"
served_name = "tiny"
port = 8000
ready_timeout_s = 60
{gates}
[server]
[[scenarios]]
isl = 8
osl = 8
conc = [1]
"""


def test_every_profile_of_ours_has_rules() -> None:
    for name in profile.names():
        found = rules.load(profile.load(name))
        if found.notes and found.notes[0].startswith("No accuracy here"):
            assert found.accuracy is None and rules.load(profile.load("inferencex")).accuracy is not None
            continue
        assert found.accuracy is not None, name
        for point in found.baseline.configurations if found.baseline else ():
            pairs = {(one.isl, one.osl): one.conc for one in profile.load(name).scenarios}
            assert point.conc in pairs[point.isl, point.osl]


@pytest.mark.parametrize(("word", "task"), [("", None), ('gates = "seed"', "wikitext"), ('gates = "mine.toml"', "hellaswag")])
def test_a_users_profile_names_its_gates(tmp_path: Path, word: str, task: str | None) -> None:
    (tmp_path / "own.toml").write_text(OWN.format(gates=word))
    (tmp_path / "mine.toml").write_text('[accuracy]\ntask = "hellaswag"\napi = "completions"\ntimeout_s = 9\nresult = "seed"\n'
                                        '[[accuracy.limits]]\nname = "acc"\nmetric = "acc,none"\nat_least = 0.5\n')
    found = rules.load(profile.load(str(tmp_path / "own.toml"))).accuracy
    assert (found.task if found else None) == task


@pytest.mark.parametrize(("text", "says"), [
    ("accuracy = 1", "accuracy"), ("[load]\nrandom_range_ratio = 2.0", "less than or equal to 1"), ("nonsense = 1", "nonsense"), ("[", "not TOML"),
    ('[accuracy]\ntask = "t"\napi = "completions"\ntimeout_s = 1\nresult = "seed"\nlimits = [{name = "a", metric = "b"}]', "could not fail"),
])
def test_rules_that_cannot_be_meant(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(BadInput, match=says):
        rules.read(tmp_path / "bad.toml")


@pytest.mark.parametrize(("harness", "mean", "ratio"), [(1.0, 1024, 0.0), (0.8, 922, 102 / 922)])
def test_the_harness_ratio_in_the_clients_words(harness: float, mean: int, ratio: float) -> None:
    made = load.lengths(1024, harness)
    assert (made.mean, made.ratio) == (mean, pytest.approx(ratio))
    assert made.longest == 1024, "a server whose max-model-len is ISL + OSL refuses one token more"
    assert harness * 1024 - 1 < made.shortest <= harness * 1024 + 2


def test_the_deadline_is_far_beyond_a_real_run() -> None:
    one = load.scenario(1024, 8192, 16, rules.LoadRules())
    assert load.deadline_s(one) > 10 * 22.5 * 10, "ten rounds of the B200's 22.5 s, ten times over"
    assert math.isfinite(load.deadline_s(one))


def test_variables_of_the_guide() -> None:
    made, taken = settings({"profile": "seed", "isl": None, "conc": ()}, {
        "MODEL": "m", "PORT": "8888", "TP": "4", "MAX_MODEL_LEN": "16384", "ISL": "1024", "OSL": "8192", "CONC": "16",
        "RANDOM_RANGE_RATIO": "0.8", "NUM_PROMPTS": "160", "RESULT_FILENAME": "r", "GPU_MEMORY_UTIL": "0.9", "BLOCK_SIZE": "64"})
    assert (made.model, made.port, made.tp, made.isl, made.osl, made.conc) == ("m", 8888, 4, 1024, 8192, (16,))
    assert (made.range_ratio, made.num_prompts, made.block_size, made.gpu_memory_util) == (0.8, 160, 64, 0.9)
    assert len(taken) == 12


@pytest.mark.parametrize("variable", [{"CONC": "four"}, {"RANDOM_RANGE_RATIO": "1.5"}, {"NUM_PROMPTS": "0"}, {"RESULT_FILENAME": "../x"}])
def test_variables_that_cannot_be_meant(variable: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        settings({"profile": "seed", "conc": ()}, {"ISL": "1", "OSL": "1", "CONC": "4", **variable})


def test_lm_evals_command(target) -> None:
    seed = rules.read(rules.GATES / "seed.toml").accuracy
    chat = rules.read(rules.GATES / "inferencex.toml").accuracy
    assert seed and chat
    words = arguments(target, seed, Path("/x"))
    given = json.loads(words[words.index("--model_args") + 1])
    assert given["base_url"] == "http://127.0.0.1:9/v1/completions"
    assert (given["tokenizer"], words[words.index("--model") + 1]) == ("/weights", "local-completions")
    words = arguments(target, chat, Path("/x"))
    given = json.loads(words[words.index("--model_args") + 1])
    assert given["base_url"] == "http://127.0.0.1:9/v1/chat/completions"
    assert words[words.index("--num_fewshot") + 1] == "5"
    assert "--apply_chat_template" in words


def test_the_real_lm_evals_answer() -> None:
    raw = Path(__file__).with_name("lm_eval_answer.json").read_bytes()
    gate = rules.read(rules.GATES / "smoke.toml").accuracy
    assert gate is not None
    judged = judge(raw, gate, {"transformers_bits_per_byte": 0.7486318807131723}, seconds=1.0)
    assert judged.status == "passed"
    assert judged.metrics["bits_per_byte"] == 0.7509980847454547
    assert judged.limits[0].at_most == pytest.approx(1.03 * 0.7486318807131723)
    assert judge(raw, gate, {"transformers_bits_per_byte": 0.7}, seconds=1.0).status == "missed"


@pytest.mark.parametrize("made", [{}, [], {"transformers_bits_per_byte": True}, {"transformers_bits_per_byte": "0.7"}])
def test_a_model_without_its_number_is_no_pass(tmp_path: Path, made: Any) -> None:
    gate = rules.read(rules.GATES / "smoke.toml").accuracy
    assert gate is not None
    (tmp_path / "manifest.json").write_text(json.dumps(made))
    with pytest.raises(AccuracyUnknown, match="manifest"):
        manifest(gate, tmp_path)


@pytest.mark.parametrize(("change", "says"), [
    (lambda values: values.update({"bits_per_byte,none": float("nan")}), "is nan"),
    (lambda values: values.update({"bits_per_byte,none": "N/A"}), "is 'N/A'"),
    (lambda values: values.update({"bits_per_byte,none": 0.0}), "which no model reaches"),
    (lambda values: values.update({"bits_per_byte,none": True}), "is True"),
    (lambda values: values.pop("bits_per_byte,none"), "is missing"),
])
def test_a_value_that_is_none_is_no_pass(change, says: str) -> None:
    answer = json.loads(Path(__file__).with_name("lm_eval_answer.json").read_bytes())
    change(answer["results"]["tiny_stories"])
    gate = rules.read(rules.GATES / "smoke.toml").accuracy
    assert gate is not None
    with pytest.raises(AccuracyUnknown, match=says):
        judge(json.dumps(answer).encode(), gate, {"transformers_bits_per_byte": 0.75}, seconds=1.0)


@pytest.mark.parametrize("effective", [0, 10])
def test_a_part_of_a_task_is_no_pass(effective: int) -> None:
    answer = json.loads(Path(__file__).with_name("lm_eval_answer.json").read_bytes())
    answer["n-samples"]["tiny_stories"]["effective"] = effective
    gate = rules.read(rules.GATES / "smoke.toml").accuracy
    assert gate is not None
    with pytest.raises(AccuracyUnknown, match=f"scored {effective} of 29"):
        judge(json.dumps(answer).encode(), gate, {"transformers_bits_per_byte": 0.75}, seconds=1.0)


@pytest.mark.parametrize("names", [(), ("lm_eval_a.json", "lm_eval_b.json")])
def test_one_results_file_and_no_other_number(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(AccuracyUnknown, match=f"left {len(names)} results files"):
        answer_file(tmp_path)


@pytest.mark.parametrize("longest", [8, 16, 128, 1000, 1024, 8192])
@pytest.mark.parametrize("harness", [0.1, 0.5, 0.8, 0.9, 1.0])
def test_no_length_is_beyond_the_nominal_one(longest: int, harness: float) -> None:
    made = load.lengths(longest, harness)
    assert made.longest == longest
    assert harness * longest - 1 <= made.shortest <= made.mean <= longest


@pytest.mark.parametrize(("more", "says"), [
    ({"isl": 16384, "osl": 1024}, "ISL 16384 + OSL 1024 = 17408 tokens, the server takes 16384"),
    ({"isl": 1024, "osl": 1024, "extra": ("--max-model-len", "2000")}, "= 2048 tokens, the server takes 2000"),
    ({"isl": 1024, "osl": 1024, "extra": ("--max-model-len=2000",)}, "= 2048 tokens, the server takes 2000"),
    ({"isl": 1024, "osl": 1024, "max_model_len": 1500}, "= 2048 tokens, the server takes 1500"),
])
def test_a_load_that_the_server_would_refuse_is_refused_before_it_starts(more: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        configure.profile(Settings(profile="seed", conc=(4,), **more))
    assert configure.profile(Settings(profile="seed", conc=(4,), base_url="http://h:1", **{key: value for key, value in more.items() if key != "extra"}))


@pytest.mark.parametrize("base_url", [None, "http://h:1"])
def test_a_load_without_a_time_per_token_is_refused_before_a_server_starts(base_url: str | None) -> None:
    one = Settings(profile="seed", conc=(4,), isl=1024, osl=1, base_url=base_url)
    with pytest.raises(BadInput, match="an answer of one token has no time per token") as error:
        configure.profile(one)
    assert "--osl 2" in error.value.remedy
    assert configure.profile(one.model_copy(update={"osl": 2}))


def test_the_clients_one_ratio_keeps_both_lengths() -> None:
    for isl, osl in ((1024, 8192), (8192, 1024), (1000, 7)):
        ratio = load.client_ratio(isl, osl, 0.8)
        for nominal in (isl, osl):
            mean = load.lengths(nominal, 0.8).mean
            assert math.ceil(mean * (1 + ratio)) <= nominal
