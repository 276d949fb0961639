"""What is said of a server that fetches its model from a hub, or loads it: from the hub's cache, and from a log in vLLM 0.33.0's words."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tunefork.bench.machine import spread
from tunefork.bench.server import fetching
from tunefork.bench.server.command import ServeCommand
from tunefork.bench.server.server import Server

MODEL = "openai/gpt-oss-120b"
ARGV = ("python3", "-m", "vllm.entrypoints.cli.main", "serve", MODEL, "--served-model-name", "a/b")
GIB = 1 << 30
# From begin_loading to the graphs: what vllm/v1/worker/*model_runner.py, weight_utils.py's _BAR_FORMAT, compilation/monitor.py and tqdm write.
BEGUN = "(Worker pid=71) INFO 11-30 10:03:37 [gpu_model_runner.py:4979] Starting to load model openai/gpt-oss-120b...\n"
LOADING = "\rLoading safetensors checkpoint shards:   0% Completed | 0/14 [00:00<?, ?it/s]\n\rLoading safetensors checkpoint shards:  36% Completed | 5/14 " \
          "[00:07<00:12,  1.40s/it]\n"
COMPILING = "(Worker pid=71) INFO 11-30 10:05:00 [monitor.py:40] Starting torch.compile\n"
CAPTURING = "\rCapturing CUDA graphs (decode, FULL):   0%|          | 0/51 [00:00<?, ?it/s]\rCapturing CUDA graphs (decode, FULL):  33%|███▎      | 17/51 " \
            "[00:03<00:06,  5.21it/s]"


def hub(folder: Path, parts: dict[str, int], total: int | None = None) -> Path:
    """A hub's cache of MODEL with blobs of these sizes, which take no room on the disk."""
    home = folder / "models--openai--gpt-oss-120b"
    (home / "blobs").mkdir(parents=True)
    for name, size in parts.items():
        with (home / "blobs" / name).open("wb") as file:
            file.truncate(size)
    snapshot = home / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    if total is not None:
        (snapshot / fetching.INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": {}}))
    return folder


def test_how_far_a_fetch_is(tmp_path: Path) -> None:
    parts = {"e" * 64: 5 * GIB, f"{'f' * 64}.1a2b.incomplete": GIB // 2}
    env = {"HF_HUB_CACHE": str(hub(tmp_path / "one", parts, 61 * GIB))}
    assert fetching.words(ARGV, env) == "fetching openai/gpt-oss-120b, 5.5 of 61.0 GiB"
    assert fetching.words(ARGV, {"HF_HOME": str(hub(tmp_path / "two" / "hub", parts).parent)}) == "fetching openai/gpt-oss-120b, 5.5 GiB"
    assert fetching.words((*ARGV, "--download-dir", str(tmp_path / "one")), {}) == "fetching openai/gpt-oss-120b, 5.5 of 61.0 GiB"


@pytest.mark.parametrize("total", [int("9" * 400), -5, 0, 1 << 60])
def test_a_strangers_total_that_no_disk_holds_is_left_out(tmp_path: Path, total: int) -> None:
    env = {"HF_HUB_CACHE": str(hub(tmp_path, {f"{'f' * 64}.1a2b.incomplete": GIB}, total))}
    assert fetching.words(ARGV, env) == "fetching openai/gpt-oss-120b, 1.0 GiB"


def test_nothing_is_said_where_nothing_is_fetched(tmp_path: Path) -> None:
    whole = {"HF_HUB_CACHE": str(hub(tmp_path / "whole", {"e" * 64: GIB}, GIB))}
    assert fetching.words(ARGV, whole) == ""
    assert fetching.words(ARGV, {"HF_HUB_CACHE": str(tmp_path / "none")}) == ""
    assert fetching.words(("python3", "server.py", "8000"), whole) == ""
    assert fetching.words(("vllm", "serve", str(tmp_path)), whole) == ""


def test_the_hubs_library_has_these_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("huggingface_hub.file_download", reason="huggingface_hub is not installed: its names are not compared")
    assert library.repo_folder_name(repo_id=MODEL, repo_type="model") == "models--openai--gpt-oss-120b"
    assert fetching.PART in Path(library.__file__).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("log", "said"), [
    (BEGUN, BEGUN.strip()),
    (BEGUN + LOADING, "Loading safetensors checkpoint shards:  36% Completed | 5/14 [00:07<00:12,  1.40s/it]"),
    (BEGUN + LOADING + COMPILING, COMPILING.strip()),
    (COMPILING + CAPTURING, "Capturing CUDA graphs (decode, FULL):  33%|███▎      | 17/51 [00:03<00:06,  5.21it/s]"),
], ids=["begun", "loading", "compiling", "capturing"])  # fmt: skip
@pytest.mark.parametrize("fetched", [True, False])
def test_what_a_server_is_at(log: str, said: str, fetched: bool, tmp_path: Path) -> None:
    path = tmp_path / "serve.log"
    path.write_text("$ env vllm serve\n" + log, encoding="utf-8")
    cache = hub(tmp_path / "hub", {"e" * 64: GIB} if fetched else {"e.incomplete": GIB}, 2 * GIB)
    command = ServeCommand(argv=ARGV, env={"HF_HUB_CACHE": str(cache)}, unset=(), cwd=tmp_path, host="127.0.0.1", port=1, served_name="m")
    server = Server(command, log=path, ready_timeout_s=1.0)
    assert server._doing() == (said[:120] if fetched else "fetching openai/gpt-oss-120b, 1.0 of 2.0 GiB")


def test_the_wait_for_ray_is_one_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Waited:
        def __init__(self, what: str) -> None:
            shown.append(what)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            shown.append("over")

    def init(**_: Any) -> None:
        assert shown == ["asking Ray's cluster at auto"]
        raise ConnectionError("nobody")

    monkeypatch.setitem(__import__("sys").modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    monkeypatch.setattr(spread, "ticking", Waited)
    with pytest.raises(Exception, match="no Ray cluster answers at auto"):
        list(spread.spread([spread.Task("x", ("true",), 0, tmp_path, tmp_path / "log", 1.0)], spread.Ray("auto"), lambda _: None))
    assert shown[-1] == "over"
