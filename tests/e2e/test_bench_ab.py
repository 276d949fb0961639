"""Variants on the real vLLM: a patch shows in what is served, one that injects a delay is worse, equal arms are not, and both clients measure the same.

One root with two patches serves all of it. The A/A is of two servers that run on (its interval leaves out what differs between two starts; an A/A
over server starts costs four of them and is a command of docs/statistics.md).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store
from tunefork.bench.server.client import Client

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400), pytest.mark.usefixtures("one_process_less")]

ROOT = Path(__file__).resolve().parents[2]
LOAD = ("--profile", "smoke", "--isl", "64", "--conc", "1", "--metric", "median_tpot_ms", "--json")
# Long enough that an undelayed answer does not reach a busy client in one piece, which would make a TPOT of microseconds of it.
DELAY_LOAD, SAME_LOAD = ("--osl", "48", "--num-prompts", "2"), ("--osl", "8", "--num-prompts", "3")
MESSAGE = ("{}\n\nA fixture: an effect that no noise of this machine can hide.\n\n"
           "Upstream-Status: Inappropriate a test\nScope: python\nVerified-by: tests/e2e/test_bench_ab.py\nExpected-gain: none\n")
EXECUTOR = Path("vllm", "model_executor")
# Two files, so that each patch applies without the other. (subject, file, what stands there, what is put before its last line)
PATCHES = (
    ("Prefer the least likely token", EXECUTOR / "layers" / "logits_processor.py", "        return logits\n\n    def _gather_logits", "        logits = -logits\n"),
    ("Sleep in every step", EXECUTOR / "models" / "gpt_oss.py", "        return logits\n\n    def compute_logits_local", "        __import__('time').sleep(0.1)\n"),
)

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def patched(developed: Path, build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root whose series is PATCHES, installed in the place of this checkout, which is put back."""
    root = tmp_path_factory.mktemp("patched")
    shutil.copy(ROOT / "pins.toml", root)
    (root / "patches" / "vllm").mkdir(parents=True)
    (root / "patches" / "vllm" / "series").write_text("")
    build("apply", "vllm", root=root)
    tree = root / "work" / "vllm"
    for subject, file, there, added in PATCHES:
        text = (tree / file).read_text()
        assert text.count(there) == 1
        (tree / file).write_text(text.replace(there, added + there))
        subprocess.run(["git", "-C", str(tree), "-c", "user.name=A Tester", "-c", "user.email=tester@example.org", "commit", "-q", "-a", "-m",
                        MESSAGE.format(subject)], check=True)
    build("patch", "export", "vllm", root=root)
    try:
        build("develop", "--target", "cpu", root=root)
        yield root
    finally:
        build("develop")


@pytest.fixture(scope="module")
def installed(patched: Path) -> dict[str, float]:
    """What is installed before any server starts."""
    return site_state()


@pytest.fixture(scope="module")
def servers(patched: Path, installed: dict[str, float]) -> Iterator[list[dict[str, Any]]]:
    """What three servers say of themselves: two with both patches, and one with none. They start side by side, since a start keeps one core busy."""
    with ExitStack() as stack:
        begun = [stack.enter_context(starting(patched, variant)) for variant in ("all", "all", "base")]
        yield [ready(process) for process in begun]


def names(root: Path) -> list[str]:
    """The patches of the series."""
    return [line.removesuffix(".patch") for line in (root / "patches" / "vllm" / "series").read_text().split()]


def records(root: Path, experiment: str) -> list[Record]:
    return [one for one in Store(root / "work" / "records").records()
            if isinstance(one, Record) and one.labels.get("experiment") == experiment]


def test_a_patch_shows_in_what_is_served_by_switching_the_variant_without_reinstall(servers: list[dict[str, Any]], installed: dict[str, float]) -> None:
    everything, _, base = servers
    first = text(base)
    assert text(base) == first, "greedy is deterministic"
    assert first != text(everything)
    assert base["version"] != everything["version"], "each revision has its own version"
    assert site_state() == installed, "nothing was installed in between"


def test_an_injected_delay_is_worse(patched: Path, build: Build) -> None:
    _, patch = names(patched)
    # By our own client, which is ready in a second: vLLM's takes half a minute of eight trials each, and the A/A below measures with both.
    slower = json.loads(build("bench", "ab", *LOAD, *DELAY_LOAD, "--port", "0", "--a", "base", "--b", f"only:{patch}", "--pairs", "4", "--name", "delay",
                              "--client", "builtin", root=patched, timeout_s=1800).stdout)
    (one,) = slower["scenarios"]
    assert (one["verdict"], one["pairs"], one["rejected"]) == ("worse", 4, []), slower
    assert one["lo"] > 1.5
    own = records(patched, "delay")
    assert len({record.trial for record in own}) == 8
    assert {record.vllm.variant for record in own if record.vllm} == {"base", f"only:{patch}"}
    extra = [after - before for before, after in zip(tpots(own, "A"), tpots(own, "B"), strict=True)]
    assert statistics.median(extra) == pytest.approx(100, rel=0.6), "the patch costs its 100 ms a token"


def test_an_a_a_is_not_worse_and_both_clients_measure_alike(patched: Path, build: Build, servers: list[dict[str, Any]]) -> None:
    """On two delayed servers, where a token takes 0.1 s and more, so that the machine's noise stays small beside it."""
    medians = {}
    for client in ("vllm", "builtin"):
        # At 5 % an A/A is "worse" once in forty runs; a threshold far above this machine's noise makes that no flake.
        same = json.loads(build("bench", "ab", *LOAD, *SAME_LOAD, "--base-url-a", servers[0]["base_url"], "--base-url-b", servers[1]["base_url"], "--pairs", "2",
                                "--name", f"client-{client}", "--client", client, "--threshold", "0.3", root=patched).stdout)
        assert same["scenarios"][0]["verdict"] != "worse", same
        assert (same["scenarios"][0]["pairs"], same["server_restarts"]) == (2, False)
        own = records(patched, f"client-{client}")
        assert [record.status for record in own] == ["passed"] * 4
        medians[client] = {metric: statistics.median((record.metrics or {})[metric] for record in own)
                           for metric in ("median_tpot_ms", "median_e2el_ms", "total_token_throughput")}
    for metric, value in medians["vllm"].items():
        assert abs(math.log(medians["builtin"][metric] / value)) < 0.15, medians


@contextmanager
def starting(root: Path, variant: str) -> Iterator[subprocess.Popen[str]]:
    """A server of a variant that has begun to start; it is stopped at the end."""
    with subprocess.Popen([sys.executable, str(ROOT / "build.py"), "serve", "--port", "0", "--json", "--variant", variant], cwd=root, text=True,
                          env={**os.environ, "TUNEFORK_ROOT": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()  # as Ctrl-C: it stops its whole tree
            try:
                process.wait(60)
            finally:
                process.kill()


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a server says of itself once it is ready."""
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    while lines[-1] not in ("", "}\n"):
        lines.append(process.stdout.readline())
    assert lines[-1], "serve ended before it was ready"
    said = json.loads("".join(lines))
    assert isinstance(said, dict)
    return said


def text(said: dict[str, Any]) -> str:
    """What a server goes on with."""
    with Client(said["base_url"], said["model"]) as client:
        return client.complete("This is a story of", 16).text


def site_state() -> dict[str, float]:
    """Every installed distribution and editable hook with its time."""
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    return {path.name: path.stat().st_mtime for path in site.iterdir() if path.suffix in (".dist-info", ".pth", ".py")}


def tpots(own: list[Record], arm: str) -> list[float]:
    """Median TPOT of an arm's trials, by pair, in ms."""
    chosen = sorted((record for record in own if record.labels["arm"] == arm), key=lambda record: int(record.labels["pair"]))
    return [(record.metrics or {})["median_tpot_ms"] for record in chosen]
