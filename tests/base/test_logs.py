"""The log of a program that Tunefork runs: nothing that the program was given in secret, and nobody else's to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tunefork.base import redact
from tunefork.base.errors import BuildError
from tunefork.base.process import run
from tunefork.base.program import run_program

SAYS = "import os, sys; print('I am', os.environ['HF_TOKEN'], *sys.argv[1:]); sys.exit(int(os.environ['CODE']))"
SECRETS = ("hf_of-this-shell-77", "sk-argument-4f9a")


def stepped(argv: list[str], env: Mapping[str, str], log: Path) -> str:
    said: list[str] = []
    try:
        run(argv, log=log, env=env, on_line=said.append)
    except BuildError as error:
        said.append(error.message)
    return "\n".join(said)


def guarded(argv: list[str], env: Mapping[str, str], log: Path) -> str:
    run_program(argv, env=env, cwd=log.parent, log=log, deadline_s=60)
    return ""


@pytest.mark.parametrize("call", [stepped, guarded])
@pytest.mark.parametrize("code", ["0", "3"])
def test_what_a_program_is_given_in_secret_is_not_in_its_log(call: Callable[[list[str], Mapping[str, str], Path], str], code: str, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "step.log"
    said = call([sys.executable, "-c", SAYS, "--api-key", SECRETS[1]], {**os.environ, "HF_TOKEN": SECRETS[0], "CODE": code}, log)
    text = log.read_text()
    assert "I am <redacted> --api-key <redacted>" in text and not any(secret in text + said for secret in SECRETS)
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("call", [stepped, guarded])
def test_a_key_of_several_lines_is_not_in_its_log_and_a_log_that_was_open_to_all_is_closed(
        call: Callable[[list[str], Mapping[str, str], Path], str], tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    log.touch(mode=0o644)
    key = "-----BEGIN-----\n" + "\n".join(SECRETS) + "\n-----END-----"
    said = call([sys.executable, "-c", SAYS], {**os.environ, "HF_TOKEN": key, "CODE": "0"}, log)
    assert "I am <redacted>" in log.read_text() and not any(secret in log.read_text() + said for secret in SECRETS)
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_cleaned_hides_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, secrets: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(redact, "clean_file", full)
    assert run_program(["true"], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "log", deadline_s=60).exit_code == 0
