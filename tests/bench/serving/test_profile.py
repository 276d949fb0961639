"""Profiles: ours load and say what the notes say; every mistake in a file is an error that names the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefork.bench.serving import profile
from tunefork.bench.serving.profile import Scenario
from tunefork.patchset.errors import BadInput

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
        Scenario(1024, 1024, (4, 8, 16)), Scenario(1024, 8192, (4, 8, 16)), Scenario(8192, 1024, (4, 8)))
    assert profile.load("stage2").scenarios == (Scenario(8192, 1024, (4, 32, 128)),)


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
        assert "disable-log-requests" not in loaded.server
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


def test_tensor_parallel_must_be_positive() -> None:
    with pytest.raises(BadInput, match="--tp 0"):
        profile.load("seed").with_tensor_parallel(0)
