"""The tiny model's store: made once, whole or not at all, verified, safe for processes that come together."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.layout import Layout
from tunefork.bench.server.tiny import make, store
from tunefork.bench.server.tiny import recipe as recipes
from tunefork.bench.server.tiny.recipe import Recipe


@pytest.fixture(autouse=True)
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest names library versions; this environment may lack the libraries."""
    monkeypatch.setattr(recipes, "version", lambda name: f"1.0 of {name}")


def good(_recipe: Recipe, folder: Path) -> dict[str, Any]:
    (folder / "eval").mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "eval" / "stories.jsonl").write_text("{}\n")
    return {"parameters": 1}


def never(_recipe: Recipe, _folder: Path) -> dict[str, Any]:
    raise AssertionError("made again")


def test_made_once_then_found(tmp_path: Path) -> None:
    folder, made = store.obtain(tmp_path, Recipe(), good)
    assert made
    assert folder.name == f"tiny-{Recipe().digest()}"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["recipe"]["hidden_size"] == 128
    assert set(manifest["files"]) == {"model.safetensors", "eval/stories.jsonl"}
    assert store.obtain(tmp_path, Recipe(), never) == (folder, False)


def test_another_recipe_or_library_is_another_model(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Recipe().digest()
    assert Recipe(layers=2).digest() != first
    monkeypatch.setattr(recipes, "version", lambda name: "2.0")
    assert Recipe().digest() != first


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "manifest"])
def test_a_damaged_model_is_made_again(tmp_path: Path, damage: str) -> None:
    folder, _ = store.obtain(tmp_path, Recipe(), good)
    match damage:
        case "changed":
            (folder / "model.safetensors").write_bytes(b"weightz")
        case "missing":
            (folder / "eval" / "stories.jsonl").unlink()
        case "added":
            (folder / "extra").write_text("")
        case "manifest":
            (folder / "manifest.json").write_text("{")
    assert store.obtain(tmp_path, Recipe(), good) == (folder, True)
    assert store.is_whole(folder)


def test_a_failure_leaves_no_model_and_the_next_try_cleans_up(tmp_path: Path) -> None:
    def fails(_recipe: Recipe, folder: Path) -> dict[str, Any]:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        store.obtain(tmp_path, Recipe(), fails)
    assert not (tmp_path / f"tiny-{Recipe().digest()}").exists()
    store.obtain(tmp_path, Recipe(), good)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [f"tiny-{Recipe().digest()}"]


def obtain_slowly(models: Path, results: multiprocessing.Queue[bool]) -> None:
    def slow(recipe: Recipe, folder: Path) -> dict[str, Any]:
        time.sleep(0.5)
        return good(recipe, folder)

    results.put(store.obtain(models, Recipe(), slow)[1])


def test_two_processes_make_one_model(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    both = [context.Process(target=obtain_slowly, args=(tmp_path, results)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(20)
    assert sorted(results.get(timeout=5) for _ in both) == [False, True]


def test_the_minute_that_it_takes_is_a_shown_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    @contextmanager
    def ticking(what: str, *, log: Path) -> Iterator[None]:
        shown.append(f"{what}; log: {log.name}")
        yield
        shown.append("over")

    def run(*_words: Any, **_more: Any) -> str:
        assert shown == ["making the tiny model; log: tiny-model.log"]
        return '{"path": "/m"}\n'

    monkeypatch.setattr(make, "ticking", ticking)
    monkeypatch.setattr(make, "run", run)
    assert make.tiny_model(Layout(tmp_path, tmp_path / "cache"), Path("python3"), lambda _line: None) == Path("/m")
    assert shown[-1] == "over"
