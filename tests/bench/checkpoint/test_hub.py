"""A checkpoint by its name: from huggingface_hub's cache, fetched over HTTP from a hub on this machine, or one line that says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loading import module

from tunefork.bench.checkpoint import hub

pytest.importorskip("numpy", reason="NOT TESTED: needs torch and numpy (`pip install -e .[kernels]`)")
pytest.importorskip("huggingface_hub", reason="NOT TESTED: needs torch and huggingface_hub")


planted, hub_server = (module(name, Path(__file__).with_name(f"{name}.py")) for name in ("planted", "hub_server"))
REPO, COMMIT = hub_server.REPO, hub_server.COMMIT
Said = subprocess.CompletedProcess[str]
Command = Callable[..., Said]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[object]:
    """A hub with a good checkpoint, which has the same weights in a folder once more, as GPT-OSS has."""
    planted.write(planted.fill(planted.Plan(shards=2)), tmp_path / "repository")
    (tmp_path / "repository" / "original").mkdir()
    (tmp_path / "repository" / "original" / "model.safetensors").write_bytes(b"not to be fetched")
    server = hub_server.Hub(tmp_path / "repository")
    yield server
    server.shutdown()


@pytest.fixture
def checked(tmp_path: Path) -> Command:
    """checked(WORD, ENVIRONMENT): `checkpoint check WORD` in a process of its own, since huggingface_hub reads the environment once."""
    def run(word: str, *options: str, **more: str) -> Said:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        return subprocess.run([sys.executable, "-c", "import sys; from tunefork.cli.main import main; sys.exit(main(sys.argv[1:]))", "checkpoint", "check", word,
                               *options], capture_output=True, text=True, check=False, cwd=tmp_path,
                              env={**environment, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1", **more})  # fmt: skip

    return run


@pytest.mark.slow
def test_a_name_is_fetched_once_and_then_cached(served: object, checked: Command, tmp_path: Path) -> None:
    first = checked(REPO, "--json", HF_ENDPOINT=served.url)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["ok"] and report["element_order"] and Path(report["path"]).name == COMMIT and report["files"] == 2
    assert f"fetching 0.00 of 0.00 GiB from {served.url}" in first.stderr
    assert not any("original" in line for line in served.asked if "resolve" in line), "the weights once, not in every form"
    served.asked.clear()
    again = checked(REPO, "--json", HF_ENDPOINT=served.url)
    assert again.returncode == 0 and json.loads(again.stdout) == report, again.stderr
    assert not [line for line in served.asked if REPO in line]
    assert "as huggingface_hub's cache has it" in again.stderr
    offline = checked(REPO, "--json", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and json.loads(offline.stdout) == report
    by_commit = checked(f"{REPO}@{COMMIT}", HF_HUB_OFFLINE="1")
    assert by_commit.returncode == 0


@pytest.mark.slow
def test_a_faulty_one_has_its_faults(served: object, checked: Command) -> None:
    victim = sorted(served.folder.glob("*.safetensors"))[1]
    victim.unlink()
    found = checked(REPO, "--json", HF_ENDPOINT=served.url)
    assert found.returncode == 1 and "missing shard" in {fault["kind"] for fault in json.loads(found.stdout)["faults"]}


@pytest.mark.slow
@pytest.mark.parametrize(("word", "more", "code", "says"), [
    (REPO, {"HF_ENDPOINT": "http://127.0.0.1:9"}, 4, "is no path here and not in"),
    (REPO, {"HF_HUB_OFFLINE": "1"}, 4, "HF_HUB_OFFLINE forbids to ask"),
    ("someone/else", {}, 2, "has no someone/else, or not for you"),
    (f"{REPO}@nowhere", {}, 2, "has no revision nowhere"),
    ("./someone/tiny-gpt-oss", {}, 2, "no such file or folder"),
    ("some--one/a..b", {}, 2, "is no path here and no name of a hub"),
])
def test_one_line_says_why_there_is_none(served: object, checked: Command, word: str, more: dict[str, str], code: int, says: str) -> None:
    found = checked(word, **{"HF_ENDPOINT": served.url, **more})
    assert (found.returncode, found.stdout) == (code, "")
    said = [line for line in found.stderr.splitlines() if line.strip()]
    assert says in said[0] and len(said) == 2 and said[1].strip().startswith("try: "), found.stderr


def test_a_path_here_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub.names("a/b") and hub.names("a/b@main") and hub.names("openai/gpt-oss-120b")
    Path("a/b").mkdir(parents=True)
    assert not hub.names("a/b")
    assert not any(map(hub.names, ("a", "./a/c", "/a/c", "~/a", "a/b/c", "../a/b")))
