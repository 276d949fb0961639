"""Every command of docs/zh-CN/quickstart.md: its options are understood, and what needs neither a GPU nor an install is run.

`bench run` and `bench submit` run whole, with stand-ins for vLLM, its client, lm_eval and a leaderboard that is not there; `serve` runs dry;
`container` meets a stand-in for docker; `doctor`, `status`, `plan-sizes` and a dry `develop` run as they are.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from tunefork.cli.main import main, tunefork
from tunefork.cli.registry import Commands

PAGE = Path(__file__).parents[3] / "docs" / "zh-CN" / "quickstart.md"
START = "python3 build.py "
SCRIPT = {"MODEL": "openai/gpt-oss-120b", "PORT": "8888", "TP": "8", "MAX_MODEL_LEN": "16384", "ISL": "1024", "OSL": "1024", "CONC": "8",
          "RANDOM_RANGE_RATIO": "1.0", "NUM_PROMPTS": "80", "RESULT_FILENAME": "result_isl1024_osl1024_conc8"}
NOWHERE = "http://127.0.0.1:1"
# What is only parsed here, and why.
PARSED = {"apply": "fetches two upstreams and checks them out: tests/patchset, tests/e2e",
          "develop": "installs, but for --dry-run, which is run below: tests/develop, tests/e2e",
          "patch": "exports the commits of an applied checkout: tests/patchset",
          "kernels": "`gate` compiles and executes for minutes, `tune` needs a GPU: .ci/run, tests/kernels, tests/bench/kernels",
          "bench ab": "needs a series with the patch my-fix, applied: tests/bench/ab, tests/e2e", "bench profile": "needs a server that traces: tests/e2e"}
RUN = {"bench run", "bench submit", "serve", "container", "doctor", "status", "plan-sizes"}


def commands() -> list[list[str]]:
    """The words after build.py of every command of the page, once each, in its order."""
    found: dict[str, list[str]] = {}
    text = PAGE.read_text(encoding="utf-8")
    for fence, inline in re.findall(r"^```\n(.*?)^```|`(python3 build\.py [^`\n]*)`", text, re.DOTALL | re.MULTILINE):
        for line in (fence or inline).splitlines():
            for one in line.split("&&"):
                if one.strip().startswith(START):
                    words = shlex.split(one.strip().removeprefix(START), comments=True)
                    found[shlex.join(words)] = words
    return list(found.values())


def name(words: list[str]) -> str:
    return " ".join(words[:2]) if words[0] == "bench" else words[0]


def of(command: str) -> list[Any]:
    return [pytest.param(words, id=shlex.join(words)) for words in commands() if name(words) == command]


def parsed(words: list[str]) -> click.Context:
    """The context in which a command would run; UsageError where an option or a value is not understood."""
    group: click.Command = tunefork
    path, rest = click.Context(tunefork, info_name="build.py", **tunefork.context_settings), list(words)
    while isinstance(group, Commands):
        found = group.get_command(path, rest[0]) if rest else None
        assert found is not None, f"no command {rest[:1]}"
        group, path = found, click.Context(found, info_name=rest.pop(0), parent=path)
    return group.make_context(path.info_name, rest, parent=path.parent)


def test_the_page_has_its_commands() -> None:
    known = {*RUN, *PARSED}
    assert {name(words) for words in commands()} <= known, "say how this test treats the new one"
    assert len(commands()) > 30
    assert len(of("bench run")) > 10


@pytest.mark.parametrize("words", [pytest.param(words, id=shlex.join(words)) for words in commands()])
def test_its_options_are_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _self: True)
    plain = [word.replace("BATCH", "/").replace("batch_...", "batch_1") for word in words]
    if "--resume" in plain:
        plain[plain.index("--resume") + 1] = "/"
    assert parsed(plain).command.name is not None


@pytest.mark.parametrize("words", of("serve"))
def test_serve_runs_dry(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(tmp_path))
    dry = [words[0], "--dry-run", *(word for word in words[1:] if word != "--dry-run")]
    assert main(dry) == 0
    said = capsys.readouterr().out
    assert "serve openai/gpt-oss-120b" in said
    for extra in words[words.index("--") + 1 :] if "--" in words else ():
        assert extra in said


@pytest.mark.slow
@pytest.mark.parametrize("words", of("container"))
def test_container_is_docker(words: list[str], tmp_path: Path) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\necho ran docker "$@"\n')
    docker.chmod(0o755)
    models = tmp_path / "models"
    models.mkdir()
    words = [word.replace("/data/models", str(models)) for word in words]
    shutil.copy(PAGE.parents[2] / "pins.toml", tmp_path)  # which image, the pins say
    done = subprocess.run([sys.executable, "-m", "tunefork.cli.main", *words], check=False, capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "PATH": f"{docker.parent}:/usr/bin:/bin", "TUNEFORK_ROOT": str(tmp_path), "HF_TOKEN": "hf_secret"})
    assert done.returncode == 0, done.stderr
    assert ("ran docker run" in done.stdout) == ("--run" in words)
    assert "hf_secret" not in done.stdout + done.stderr


HERE = [*of("doctor"), *of("status"), *of("plan-sizes"), *(one for one in of("develop") if "--dry-run" in one.values[0])]


@pytest.mark.slow
@pytest.mark.parametrize("words", HERE)
def test_what_only_looks_is_run(words: list[str], tmp_path: Path) -> None:
    shutil.copy(PAGE.parents[2] / "pins.toml", tmp_path)
    shutil.copytree(PAGE.parents[2] / "patches", tmp_path / "patches")
    done = subprocess.run([sys.executable, "-m", "tunefork.cli.main", *words], check=False, capture_output=True, text=True, cwd=tmp_path,
                          env={**os.environ, "TUNEFORK_ROOT": str(tmp_path), "NO_COLOR": "1"})
    assert done.returncode in ((0, 1) if words[0] == "doctor" else (0,)), done.stderr  # 1: something of this machine is wrong
    assert "Traceback" not in done.stderr
    assert {"doctor": "check", "status": "pending", "plan-sizes": "compilation-config", "develop": "VLLM_TARGET_DEVICE=rocm"}[words[0]] in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", of("bench submit"))
def test_bench_submit_sends_what_was_measured(words: list[str], world: Any) -> None:
    """First dry, as the page says; then as typed, to a leaderboard that is not there."""
    measured = world.seed("--profile", "seed", "--isl", "1024", "--osl", "1024", "--conc", "4")
    assert measured.code == 0, measured.err
    world.env.update(LB_URL_OVERRIDE=NOWHERE)
    typed = [str(world.batches[0]) if word == "BATCH" or "batch_" in word else word for word in words[2:]]
    shown = world.bench("submit", "--json", "--dry-run", *typed)
    assert shown.code == 0 and shown.json["submissions"][0]["state"] == "not sent (dry run)", shown.err
    sent = world.bench("submit", "--json", "--yes", *typed)
    assert sent.code == 15 and [one["state"] for one in sent.json["submissions"]] == ["SubmitFailed"], sent.err


@pytest.mark.slow
@pytest.mark.parametrize("words", of("bench run"))
def test_bench_run_runs_with_stand_ins(words: list[str], world: Any) -> None:
    """As typed, but for the port and (of a GPU's profile) the weights; `source specific_conc_var.sh` before the command that has it on the page."""
    sourced = "source specific_conc_var.sh" in PAGE.read_text(encoding="utf-8").split(shlex.join(words[2:]))[0].rpartition("```\n")[2]
    typed, fix = list(words[2:]), ["--yes"]
    smoke = "smoke" in words or "--profile" not in words
    world.target = "cpu" if smoke else "gfx950"
    world.env.update({**(SCRIPT if sourced else {}), "LB_URL_OVERRIDE": NOWHERE})
    if "--base-url" in typed:
        typed[typed.index("--base-url") + 1] = f"http://127.0.0.1:{world.port}"
        fix += ["--model", "/weights"]
        server = world.serve("openai/gpt-oss-120b")
        try:
            done = world.bench("run", "--json", *fix, *typed)
        finally:
            server.kill()
            server.wait()
        assert done.code == 0, done.err
        return
    if "--resume" in typed:
        first = world.seed("--profile", "seed", "--isl", "1024", "--osl", "1024", "--conc", "4")
        assert first.code == 0, first.err
        done = world.bench("run", "--json", "--resume", str(world.batches[0]))
        assert done.code == 0, done.err
        return
    if not smoke and not sourced:
        fix += ["--model", "/weights"]
    done = world.bench("run", "--json", "--port", str(world.port), *fix, *typed)
    submits = "submit" in typed
    assert done.code == (15 if submits else 0), done.err
    if submits:
        assert done.json["submissions"]
        assert all(one["state"] == "SubmitFailed" for one in done.json["submissions"]), "nobody is at port 1"
    if sourced:
        assert done.statuses == {8: "passed"}
        assert "from the environment: CONC=8" in done.err
