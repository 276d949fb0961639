"""The command of a profile: words, environment, and its form for a shell."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tunefork.bench.profiles import profile
from tunefork.bench.server import command
from tunefork.bench.server.command import ServeCommand


def build(name: str = "smoke", *, variant_env: dict[str, str] | None = None, cwd: Path = Path("/tmp"), host: str = "127.0.0.1",
          extra: tuple[str, ...] = ()) -> ServeCommand:
    return command.build(profile.load(name), python=Path("/env/bin/python"), variant_env=variant_env or {},
                         model="/models/tiny", cwd=cwd, host=host, extra=extra)


def test_the_smoke_command() -> None:
    made = build()
    assert made.argv == (
        "/env/bin/python", "-m", "vllm.entrypoints.cli.main", "serve", "/models/tiny", "--served-model-name", "tiny",
        "--host", "127.0.0.1", "--port", "8000", "--enforce-eager", "--max-model-len", "2048", "--max-num-seqs", "8", "--max-num-batched-tokens", "512")
    assert made.env["HF_HUB_OFFLINE"] == "1"
    assert made.base_url == "http://127.0.0.1:8000"


def test_the_seed_command_has_json_and_negated_flags() -> None:
    argv = build("seed").argv
    assert "--no-enable-prefix-caching" in argv
    assert argv[argv.index("--tensor-parallel-size") + 1] == "8"
    assert json.loads(argv[argv.index("--compilation-config") + 1])["cudagraph_mode"] == "FULL_AND_PIECEWISE"


def test_extra_arguments_come_last_so_that_they_win() -> None:
    assert build(extra=("--max-num-seqs", "2")).argv[-2:] == ("--max-num-seqs", "2")


def test_what_selects_the_variant_wins_over_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(variant_env={"PYTHONPATH": "/work/vllm@base", "HF_HUB_OFFLINE": "0"})
    assert made.env["HF_HUB_OFFLINE"] == "0"
    assert made.environment({"PYTHONPATH": "/mine", "HOME": "/h"}) == {**made.env, "HOME": "/h"}
    assert "PYTHONPATH" not in made.unset


def test_what_would_shadow_the_install_is_not_inherited() -> None:
    whole = build().environment({"PYTHONPATH": "/mine", "PYTHONDONTWRITEBYTECODE": "1", "HIP_VISIBLE_DEVICES": "3"})
    assert "PYTHONPATH" not in whole
    assert "PYTHONDONTWRITEBYTECODE" not in whole
    assert whole["HIP_VISIBLE_DEVICES"] == "3"


def test_settings_from_the_shell_are_listed() -> None:
    inherited = {"VLLM_FOO": "1", "VLLM_NO_USAGE_STATS": "0", "HOME": "/h", "HSA_NO_SCRATCH_RECLAIM": "1", "HF_TOKEN": "secret"}
    assert build().inherited_settings(inherited) == {"HSA_NO_SCRATCH_RECLAIM": "1", "VLLM_FOO": "1"}


@pytest.mark.parametrize(("host", "url"), [
    ("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"), ("::1", "http://[::1]:8000"),
    ("localhost", "http://localhost:8000")])
def test_the_address_for_clients(host: str, url: str) -> None:
    assert build(host=host).base_url == url


def test_the_shell_form_runs_the_same_words_in_the_same_environment(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]))"
    made = ServeCommand(argv=("python3", "-c", show, 'quote " and \' $HOME', "--json={}"), env={"A": "x y"},
                        unset=("GONE",), cwd=folder, host="h", port=1, served_name="m")
    out = subprocess.run(["sh", "-c", made.shell()], env={**os.environ, "GONE": "1"}, capture_output=True, check=True).stdout
    words, environment, cwd = json.loads(out)
    assert words == list(made.argv[3:])
    assert environment["A"] == "x y"
    assert "GONE" not in environment
    assert cwd == str(folder)
    assert shlex.split(made.shell())[0] == "cd"
