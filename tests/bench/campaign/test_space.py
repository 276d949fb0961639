"""Spaces: ours hold, every value is vLLM's, constraints speak, mistakes are told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.base.upstream_facts.vllm import RELEASE
from tunefork.bench.campaign import candidate, space
from tunefork.bench.profiles import profile
from tunefork.bench.server.command import flags

GOOD = """
[[knobs]]
key = "server.max-num-seqs"
values = [64, 128]
why = "w"
"""
PARSE = """
import json, sys
from vllm import __version__, envs
from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.attention.backends.registry import AttentionBackendEnum
from vllm.config.compilation import CUDAGraphMode
from vllm.config import CompilationConfig
parser, unknown = make_arg_parser(FlexibleArgumentParser()), {}
for name, one in json.loads(sys.argv[1]).items():
    parsed = parser.parse_args(["serve-model", *one["words"]])
    validate_parsed_serve_args(parsed)
    assert parsed.attention_backend is None or parsed.attention_backend in AttentionBackendEnum.__members__, name
    mode = getattr(parsed.compilation_config, "cudagraph_mode", None)
    assert mode is None or isinstance(mode, CUDAGraphMode), (name, mode)
    unknown[name] = [key for key in one["variables"] if key.startswith("VLLM_") and key not in envs.environment_variables]
print(__version__)
print(json.dumps(unknown))
"""


def test_ours_load_alone_and_together() -> None:
    assert set(space.names()) == {"attention", "capture", "environment", "memory", "parallelism", "scheduling", "smoke"}
    assert len(space.load(*(name for name in space.names() if name != "smoke")).knobs) > 15


def arms(profile_name: str, names: list[str]) -> dict[str, dict[str, list[str]]]:
    """What each candidate's server is started with."""
    base = profile.load(profile_name)
    found = candidate.flags(space.load(*names), base)
    made = {one.name: candidate.served(base, [one]) for one in found}
    return {name: {"words": flags(one.server), "variables": list(one.environment)} for name, one in made.items()}


@pytest.mark.slow
def test_vllms_own_parser_takes_every_value(tmp_path: Path) -> None:
    """Each candidate's arguments through the parser of the vLLM that is pinned."""
    pytest.importorskip("vllm", reason="NOT TESTED: needs vLLM's dependencies (`python3 build.py develop`)")
    asked = {**arms("stage2", [name for name in space.names() if name != "smoke"]), **arms("smoke-campaign", ["smoke"])}
    checked = subprocess.run([sys.executable, "-P", "-c", PARSE, json.dumps(asked)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr[-3000:]
    version, unknown = checked.stdout.splitlines()[-2:]
    assert version.startswith(RELEASE), "of the pin"
    assert json.loads(unknown) == {name: [] for name in asked} and len(asked) > 30


@pytest.mark.parametrize(("server", "told"), [
    ({"max-num-batched-tokens": 64, "max-num-seqs": 128}, "server.max-num-batched-tokens 64 >= server.max-num-seqs 128 does not hold"),
    ({"max-num-batched-tokens": 8192, "enable-chunked-prefill": False}, "server.max-num-batched-tokens 8192 >= server.max-model-len 16384 does not hold"),
    ({"max-num-batched-tokens": 8192}, ""),
    ({"enable-expert-parallel": True}, "gpus 1 >= 2 does not hold"),
    ({"enable-expert-parallel": True, "tensor-parallel-size": 2}, ""),
    ({"tensor-parallel-size": 16}, "it takes 16 GPUs, the campaign has 8"),
])
def test_constraints(server: dict[str, object], told: str) -> None:
    base = profile.load("stage2")
    made = replace(base, server={**base.server, **server})
    why = space.load("scheduling", "parallelism").refuses(made, 8)
    assert why.startswith(told) and bool(why) == bool(told)


@pytest.mark.parametrize(("text", "told"), [
    ("x = 1", "x: no such key"),
    ("knobs = 1", r"expected \[\[knobs\]\] tables"),
    ('[[knobs]]\nkey = "server.a"\nvalues = [1]', r"knobs\[0\]: expected key, values and why, got key, values"),
    ('[[knobs]]\nkey = "max"\nvalues = [1]\nwhy = "w"', "max is in neither server nor environment"),
    ('[[knobs]]\nkey = "server.a"\nvalues = [1, 1]\nwhy = "w"', "expected a list of different values"),
    ('[[knobs]]\nkey = "server.a"\nvalues = []\nwhy = "w"', "expected a list of different values"),
    ('[[knobs]]\nkey = "environment.A"\nvalues = [1]\nwhy = "w"', "a variable's values are strings"),
    ('[[constraints]]\nrequire = "server.a > "\nwhy = "w"', r"constraints\[0\]: expected require"),
    ('[[constraints]]\nrequire = "server.a ~ 2"\nwhy = "w"', r"constraints\[0\]: expected require"),
    ('[[constraints]]\nrequire = "a > 2"\nwhy = "w"', "a is in neither"),
    ("[[knobs", "not TOML"),
])
def test_mistakes_name_the_file_and_the_key(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=told) as caught:
        space.load(str(path))
    assert str(path) in caught.value.message and caught.value.remedy


def test_one_key_in_two_spaces_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    with pytest.raises(BadInput, match="server.max-num-seqs is a knob of another space already"):
        space.load("scheduling", str(path))


def test_no_such_space_names_those_there_are() -> None:
    with pytest.raises(BadInput, match="no space 'nothing': expected one of attention, capture"):
        space.load("nothing")


@pytest.mark.parametrize("text", [
    GOOD + '[[constraints]]\nrequire = "server.max-num-seqs <= 5"\nwhy = "w"\nwhen = 3\n',
    GOOD + '[[constraints]]\nrequire = "server.max-num-seqs <= 5"\nwhy = "w"\nwhen = []\n',
    '[[knobs]]\nkey = "server.a..b"\nvalues = [1]\nwhy = "w"\n', '[[knobs]]\nkey = "environment.A.B"\nvalues = ["1"]\nwhy = "w"\n',
])  # fmt: skip
def test_a_strangers_space_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "theirs.toml").write_text(text)
    with pytest.raises(BadInput):
        space.load(str(tmp_path / "theirs.toml"))


def test_a_word_and_a_number_have_no_order(tmp_path: Path) -> None:
    (tmp_path / "theirs.toml").write_text('[[knobs]]\nkey = "server.max-num-seqs"\nvalues = [64, "many"]\nwhy = "w"\n'
                                          '[[constraints]]\nrequire = "server.max-num-seqs <= 100"\nwhy = "c"\n')
    found = space.load(str(tmp_path / "theirs.toml"))
    good, bad = candidate.possible(candidate.flags(found, profile.load("stage2")), found, profile.load("stage2"), 8)
    assert [one.name for one in good] == ["max-num-seqs=64"] and ["cannot be compared" in one.reason for one in bad] == [True]


def test_a_key_below_a_value_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs.toml").write_text('[[knobs]]\nkey = "server.max-model-len.inner"\nvalues = [1]\nwhy = "w"\n')
    found = space.load(str(tmp_path / "theirs.toml"))
    with pytest.raises(BadInput, match="and no table"):
        candidate.possible(candidate.flags(found, profile.load("stage2")), found, profile.load("stage2"), 8)
