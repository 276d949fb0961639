"""What a measurement needs of the machine is asked before a checkout, a folder or a server is made: exit 6, with what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunefork.bench.run import session
from tunefork.cli.kernels import tune as kernels_tune
from tunefork.cli.main import main
from tunefork.develop import variants


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout on whose machine vLLM is installed for cpu; nothing may be applied or made there."""
    def never(*_words: object) -> None:
        raise AssertionError("a variant was made ready")

    monkeypatch.setenv("TUNEFORK_ROOT", str(tmp_path))
    monkeypatch.setattr(session, "installed_target", lambda: "cpu")
    monkeypatch.setattr(session, "require_client", lambda: None)
    monkeypatch.setattr(session, "require_lm_eval", lambda: None)
    monkeypatch.setattr(variants, "environment", never)
    (tmp_path / "patches" / "vllm").mkdir(parents=True)
    (tmp_path / "patches" / "vllm" / "series").write_text("")
    return tmp_path


@pytest.mark.parametrize("words", [
    ("run", "--profile", "seed"), ("ab", "--a", "base", "--b", "all", "--profile", "stage2", "--name", "x"), ("profile", "--profile", "stage2"),
])
def test_a_profile_of_another_target(cpu: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tunefork.cli.bench.run.on_signal", lambda _handler: None)
    assert main(["bench", *words]) == 6
    said = capsys.readouterr().err
    assert "is served by an install for gfx950; this one is for cpu" in said
    assert "try: --profile smoke serves anywhere; `python3 build.py develop --target gfx950`" in said
    assert not (cpu / "work").exists(), "no folder was made"


@pytest.mark.parametrize("words", [("run",), ("ab", "--a", "base", "--b", "all", "--name", "x"), ("profile",)])
def test_an_install_that_is_not_there(cpu: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tunefork.cli.bench.run.on_signal", lambda _handler: None)
    monkeypatch.setattr(session, "installed_target", lambda: None)
    assert main(["bench", *words]) == 6
    said = capsys.readouterr().err
    assert "vLLM is not installed here" in said and "try: python3 build.py apply && python3 build.py develop" in said
    assert "experiment" not in said and not (cpu / "work").exists(), "nothing was begun"


def test_a_run_for_another_target_makes_no_batch(world: Any) -> None:
    done = world.run("--profile", "seed")
    assert done.code == 6, done.err
    assert world.calls == []
    assert not (world.root / "work" / "bench").exists()


@pytest.mark.parametrize("command", ["run", "profile"])
def test_too_few_open_files_are_told_before_a_server_starts(cpu: Path, command: str, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tunefork.cli.bench.run.on_signal", lambda _handler: None)
    monkeypatch.setattr("tunefork.bench.load.limits.resource.getrlimit", lambda _which: (256, 256))
    assert main(["bench", command, "--profile", "smoke", "--conc", "512"]) == 6
    assert "CONC 512 needs 640 open files, this shell allows 256" in capsys.readouterr().err
    assert not (cpu / "work").exists()


def test_lm_eval_is_asked_for_where_there_is_a_gate(cpu: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TUNEFORK_ROOT", str(cpu))
    monkeypatch.setattr("tunefork.cli.bench.run.on_signal", lambda _handler: None)
    monkeypatch.setattr(session, "require_client", lambda: None)
    monkeypatch.setattr(session.importlib.util, "find_spec", lambda _name: None)
    assert main(["bench", "run", "--profile", "smoke"]) == 6
    assert "the accuracy gate needs lm_eval" in capsys.readouterr().err


def test_tuning_without_a_gpu_asks_for_its_tool_first(cpu: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="NOT TESTED: needs torch")
    monkeypatch.setattr(kernels_tune, "find_tool", lambda: None)
    assert main(["kernels", "tune", "--static", "--out", str(cpu / "tuned")]) == 6
    said = capsys.readouterr().err
    assert "--static needs llvm-mca 22 or newer" in said and "apt install llvm-22" in said
    assert not (cpu / "tuned").exists()
