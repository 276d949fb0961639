"""`checkpoint check` at the command line, and the refusal of `serve`: exit codes, words, JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loading import module

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.server import prepare
from tunefork.cli.main import main

pytest.importorskip("numpy", reason="NOT TESTED: needs torch and numpy (`pip install -e .[kernels]`)")
planted = module("planted", Path(__file__).parents[1] / "bench/checkpoint/planted.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found: Path = planted.write(planted.fill(planted.Plan(shards=3)), tmp_path / "model")
    return found


def test_a_good_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "check", str(folder)]) == 0
    shown = capsys.readouterr()
    assert "projections: 4 openai" in shown.out and "order of elements: as the layout says; gate and up: pairs" in shown.out
    assert "4 of 4 projections" in shown.err


def test_a_bad_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model-00001-of-00003.safetensors").unlink()
    assert main(["checkpoint", "check", str(folder), "--quick"]) == 1
    out = capsys.readouterr().out
    assert "error: missing shard: model-00001-of-00003.safetensors: the index names it" in out and "  vLLM stops" in out


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model-00001-of-00003.safetensors").unlink()
    assert main(["checkpoint", "check", str(folder), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False and {"kind", "level", "where", "message", "vllm", "kernel"} == set(said["faults"][0])
    assert {"layouts", "read_bytes", "blocks", "empty_blocks", "scale_bytes", "element_order", "row_order"} <= set(said)


def test_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "check", str(tmp_path / "none")]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_serve_refuses_a_broken_one(folder: Path, tmp_path: Path) -> None:
    environment: Any = SimpleNamespace(target="gfx950", python=Path(sys.executable), env={})
    said: list[str] = []

    def command() -> Any:
        return prepare.serve_command(Layout(tmp_path, tmp_path), profiles.load("stage2"), environment, say=said.append, port=0, model=str(folder))

    assert command().argv and not said
    (folder / "model-00001-of-00003.safetensors").unlink()
    with pytest.raises(BadInput, match="missing shard: model-00001-of-00003.safetensors"):
        command()
