"""Profiles: ours load and say what their sources say; every mistake in a file is an error that names the file and the key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tunefork.base import toml
from tunefork.base.errors import BadInput
from tunefork.bench.profiles import profile, rules
from tunefork.bench.profiles.profile import ScenarioSet

GOOD = """
description = "d"
targets = ["cpu"]
model = "tiny"
served_name = "tiny"
port = 8000
ready_timeout_s = 60
[server]
enforce-eager = true
[server.compilation-config]
compile_sizes = [1, 2, "4-8/2", 256]
[environment]
A_B = "1"
[[scenarios]]
isl = 64
osl = 32
conc = [1, 4]
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_our_profiles_load() -> None:
    assert {"seed", "smoke", "stage2"} <= set(profile.names())
    for name in profile.names():
        assert profile.load(name).name == name


def test_scenarios_are_those_of_the_competition() -> None:
    assert profile.load("seed").scenarios == (
        ScenarioSet(1024, 1024, (4, 8, 16)), ScenarioSet(1024, 8192, (4, 8, 16)), ScenarioSet(8192, 1024, (4, 8)))
    assert profile.load("stage2").scenarios == (ScenarioSet(8192, 1024, (4, 32, 128)),)


def test_every_scenario_fits_into_the_models_length() -> None:
    for name in profile.names():
        loaded = profile.load(name)
        assert all(each.isl + each.osl <= loaded.server["max-model-len"] for each in loaded.scenarios)


def test_gpus_used() -> None:
    assert profile.load("seed").gpus == 8
    assert profile.load("stage2").gpus == 1
    assert profile.load("stage2").with_tensor_parallel(4).gpus == 4


def test_dead_names_of_the_guide_are_not_carried_over() -> None:
    for name in ("seed", "stage2"):
        loaded = profile.load(name)
        assert not {"VLLM_USE_AITER_UNIFIED_ATTENTION", "VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4"} & set(loaded.environment)
        assert loaded.server["attention-backend"] == "ROCM_AITER_UNIFIED_ATTN"


def test_capture_sizes_are_the_guides() -> None:
    sizes = profile.load("seed").server["compilation-config"]
    assert sizes["compile_sizes"] == [1, *range(2, 129, 2), 256, 512, 1024, 2048, 8192]
    assert sizes["cudagraph_capture_sizes"] == [1, *range(2, 129, 2), *range(136, 1025, 8), 2048, 4096, 8192]


def test_a_file_of_the_users_is_a_profile(tmp_path: Path) -> None:
    loaded = profile.load(write(tmp_path, GOOD))
    assert loaded.name == "mine"
    assert loaded.server["compilation-config"]["compile_sizes"] == [1, 2, 4, 6, 8, 256]
    assert loaded.environment == {"A_B": "1"}


def test_a_file_named_like_a_profile_needs_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smoke").write_text("nonsense")
    monkeypatch.chdir(tmp_path)
    assert profile.load("smoke").served_name == "tiny"


@pytest.mark.parametrize(("old", "new", "says"), [
    ('port = 8000', 'port = 80000', "port: expected a port up to 65535"),
    ('port = 8000', 'port = "8000"', "port: expected int, got '8000'"),
    ('port = 8000', 'port = true', "port: expected int, got True"),
    ('port = 8000', '', "port: missing"),
    ('port = 8000', 'prot = 8000\nport = 8000', "prot: no such key"),
    ('model = "tiny"', 'model = ""', "model: expected str"),
    ('targets = ["cpu"]', 'targets = ["gfx942"]', "targets: expected some of cpu, gfx950"),
    ('targets = ["cpu"]', 'targets = []', "targets: expected some of"),
    ('ready_timeout_s = 60', 'ready_timeout_s = 0', "ready_timeout_s: expected a positive"),
    ('enforce-eager = true', 'enforce_eager = true', "server.enforce_eager: expected a flag"),
    ('enforce-eager = true', '--enforce-eager = true', "server.--enforce-eager: expected a flag"),
    ('enforce-eager = true', 'host = "0.0.0.0"', "server.host: this flag is set by `--host`"),
    ('enforce-eager = true', 'tensor-parallel-size = "8"', "server.tensor-parallel-size: expected a positive integer"),
    ('"4-8/2"', '"4-9/2"', "compile_sizes: '4-9/2' does not reach its end"),
    ('"4-8/2"', '"8-4/2"', "compile_sizes: '8-4/2' does not reach its end"),
    ('"4-8/2"', '0', "compile_sizes: expected positive integers or ranges, got 0"),
    ('A_B = "1"', 'A_B = 1', "environment.A_B: expected str, got 1"),
    ('A_B = "1"', '"a b" = "1"', "environment.a b: expected an environment variable"),
    ('conc = [1, 4]', 'conc = [0]', "scenarios[0].conc: expected a list of positive integers"),
    ('conc = [1, 4]', 'conc = []', "scenarios[0].conc: expected a list of positive integers"),
    ('isl = 64', 'isl = -1', "scenarios[0].isl: expected a positive integer"),
    ('isl = 64', 'isl = 64\nils = 1', "scenarios[0].ils: no such key"),
    ('targets = ["cpu"]', 'targets = "cpu"', "targets: expected some of cpu, gfx950, got 'cpu'"),
    ('conc = [1, 4]', 'conc = 4', "scenarios[0].conc: expected a list of positive integers, got 4"),
    ('served_name = "tiny"', 'served_name = 1979-05-27', "served_name: expected str, got datetime.date"),
    ('description = "d"', 'description = ', "not TOML"),
])
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(BadInput) as caught:
        profile.load(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert says in caught.value.message
    assert caught.value.remedy


def test_an_unknown_profile_lists_ours() -> None:
    with pytest.raises(BadInput, match=r"no profile 'sed': expected one of .*or a TOML file") as caught:
        profile.load("sed")
    assert ", ".join(profile.names()) in caught.value.message
    assert caught.value.remedy == "--profile seed", "the nearest"


@pytest.mark.slow
def test_a_command_that_reads_no_profile_does_not_import_pydantic() -> None:
    code = "import sys, tunefork.cli.serve, tunefork.cli.apply; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tunefork.bench.profiles.profile" in loaded and "pydantic" not in loaded


def test_tensor_parallel_must_be_positive() -> None:
    with pytest.raises(BadInput, match="--tp 0"):
        profile.load("seed").with_tensor_parallel(0)


LADDER = {("1k1k", 1): (4, 8, 16, 32, 64, 128), ("1k1k", 4): (4, 8), ("1k1k", 8): (4, 8, 16),
          ("8k1k", 1): (4, 8, 16, 32, 64, 128), ("8k1k", 4): (4,), ("8k1k", 8): (4, 8)}  # fmt: skip


@pytest.mark.parametrize(("lengths", "tp"), LADDER)
def test_the_ladder_is_the_base_but_for_stated_differences(lengths: str, tp: int) -> None:
    base, one = profile.load("inferencex"), profile.load(f"inferencex-{lengths}-tp{tp}")
    isl = {"1k1k": 1024, "8k1k": 8192}[lengths]
    assert one.scenarios == (ScenarioSet(isl, 1024, LADDER[lengths, tp]),) and one.gpus == tp
    assert one.server == base.server | {"tensor-parallel-size": tp, "max-model-len": isl + 1024 + 256}
    assert one.environment == base.environment and (one.model, one.port, one.targets) == (base.model, base.port, base.targets)
    assert {each.key for each in one.differences} == ({"server.tensor-parallel-size"} if tp > 1 else set()) | ({"server.max-model-len"} if isl == 1024 else set())
    gate = rules.load(one)
    assert gate.load.random_range_ratio == 0.8
    # 1500 tokens of five examples and a question, then the answer: a gate that a server is too short for would fail for that reason alone.
    assert gate.accuracy is None or gate.accuracy.model_args["max_gen_toks"] + 1500 <= one.server["max-model-len"]
    assert (gate.accuracy is None) == (isl == 1024)


STAGE2 = {"a16w4-triton": {"moe-backend"}, "tunefork": {"moe-backend"}, "aiter-fa": {"attention-backend"}, "no-compile-sizes": {"compile_sizes"},
          "rope-kv": {"custom_ops", "use_inductor_graph_partition", "VLLM_ROCM_USE_AITER_TRITON_ROPE"}, "fp8-moe": {"AITER_BF16_FP8_MOE_BOUND"},
          "shortest": {"max-model-len"}}  # fmt: skip


def leaves(table: dict[str, object]) -> dict[str, object]:
    """A table's values by their last key, inner tables opened."""
    return {key: value for name, one in table.items() for key, value in (leaves(one) if isinstance(one, dict) else {name: one}).items()}


@pytest.mark.parametrize("name", STAGE2)
def test_an_arm_of_stage_2_differs_in_one_thing(name: str) -> None:
    """Nothing but what its differences say; the same loads, GPUs and accuracy gate, so that `bench ab` may compare it with stage2."""
    base, one = profile.load("stage2"), profile.load(f"stage2-{name}")
    old, new = (leaves(each.server) | each.environment for each in (base, one))
    assert {key for key in old | new if old.get(key) != new.get(key)} == STAGE2[name] == {each.key.rpartition(".")[2] for each in one.differences}
    assert (one.scenarios, one.gpus, one.model, one.targets) == (base.scenarios, base.gpus, base.model, base.targets)
    assert rules.load(one) == rules.load(base) and rules.load(one).accuracy is not None


def test_every_arm_of_stage_2_is_listed_here() -> None:
    assert {name.removeprefix("stage2-") for name in profile.names() if name.startswith("stage2-")} == set(STAGE2)


def test_the_guides_flags_are_carried_over() -> None:
    for name in ("seed", "stage2"):
        assert profile.load(name).server["disable-log-requests"] is True, "0.33.0 takes it again"


DERIVED = 'base = "{base}"\ndescription = "d"\n{more}\n[[scenarios]]\nisl = 64\nosl = 32\nconc = [1]\n'
ONE = '[[differences]]\nkey = "{}"\n{}\nwhy = "{}"\n'


def test_a_derived_file_of_the_users(tmp_path: Path) -> None:
    base = write(tmp_path, GOOD)
    more = ONE.format("server.compilation-config.compile_sizes", "value = [2]", "w") + ONE.format("environment.A_B", "remove = true", "v")
    file = tmp_path / "derived.toml"
    file.write_text(DERIVED.format(base=Path(base).name, more=more))
    one = profile.load(str(file))
    assert one.server == {"enforce-eager": True, "compilation-config": {"compile_sizes": [2]}} and one.environment == {}
    assert [str(each) for each in one.differences] == ["server.compilation-config.compile_sizes: [2] (w)", "environment.A_B: left out (v)"]
    assert profile.load(base).server["compilation-config"]["compile_sizes"] == [1, 2, 4, 6, 8, 256], "the base is as it was"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("port = 3", "port: a derived profile says this as a difference"),
        (ONE.format("server.enforce-eager", "value = true", "w"), "is the same in the base"),
        (ONE.format("server.nothing", "remove = true", "w"), "is not in the base"),
        (ONE.format("server.enforce-eager", "value = false", " "), "needs a reason"),
        (ONE.format("server.enforce-eager", "value = false\nremove = true", "w"), "either a value or remove"),
        (ONE.format("model", "value = 'x'", "w"), "in neither server nor environment"),
        (ONE.format("server.enforce-eager.x", "value = 1", "w"), "enforce-eager is no table in the base"),
        ('[[differences]]\nkey = "server.x"\nvalue = 1\n', "expected key, why"),
    ],
)
def test_a_difference_is_stated_and_is_one(tmp_path: Path, more: str, message: str) -> None:
    base = write(tmp_path, GOOD)
    file = tmp_path / "derived.toml"
    file.write_text(DERIVED.format(base=base, more=more))
    with pytest.raises(BadInput, match=message):
        profile.load(str(file))


def test_a_base_is_not_derived_itself(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is derived itself") as caught:
        profile.load(write(tmp_path, DERIVED.format(base="inferencex-8k1k-tp1", more="")))
    assert "'inferencex'" in caught.value.remedy


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "{x=" * 5000])
def test_toml_that_is_nested_too_deeply_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "deep.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=r"deep\.toml"):
        profile.load(str(file))
    with pytest.raises(toml.TOMLDecodeError, match="too deeply"):
        toml.loads(text)
