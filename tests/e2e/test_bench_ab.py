"""The A/B on the real vLLM: a patch that injects a delay is worse, equal arms are not, and both clients measure the same."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]

ROOT = Path(__file__).resolve().parents[2]
LOAD = ("--profile", "smoke", "--port", "0", "--isl", "64", "--osl", "16", "--conc", "1", "--num-prompts", "4", "--metric",
        "median_tpot_ms", "--json")
MESSAGE = ("Sleep in every step\n\nA fixture: a loss that no noise of this machine can hide.\n\n"
           "Upstream-Status: Inappropriate a test\nScope: python\nVerified-by: tests/e2e/test_bench_ab.py\nExpected-gain: none\n")

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def delayed(developed: Path, build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A root whose series is one patch that sleeps 0.1 s a step, installed in the place of this checkout, which is put back."""
    root = tmp_path_factory.mktemp("delayed")
    shutil.copy(ROOT / "pins.toml", root)
    (root / "patches" / "vllm").mkdir(parents=True)
    (root / "patches" / "vllm" / "series").write_text("")
    build("apply", "vllm", root=root)
    model = root / "work" / "vllm" / "vllm" / "model_executor" / "models" / "gpt_oss.py"
    text = model.read_text()
    step = "        logits = self.logits_processor(self.lm_head, hidden_states)\n"
    assert text.count(step) == 1
    model.write_text(text.replace(step, step + "        __import__('time').sleep(0.1)\n"))
    subprocess.run(["git", "-C", str(root / "work" / "vllm"), "-c", "user.name=A Tester", "-c", "user.email=tester@example.org", "commit", "-q",
                    "-a", "-m", MESSAGE], check=True)
    build("patch", "export", "vllm", root=root)
    try:
        build("develop", "--target", "cpu", root=root)
        yield root
    finally:
        build("develop")


def records(root: Path, experiment: str) -> list[Record]:
    return [one for one in Store(root / "work" / "records").records()
            if isinstance(one, Record) and one.labels.get("experiment") == experiment]


def test_an_injected_delay_is_worse_and_an_a_a_is_not(delayed: Path, build: Build) -> None:
    patch = (delayed / "patches" / "vllm" / "series").read_text().split()[-1].removesuffix(".patch")
    slower = outcome(build, delayed, "--a", "base", "--b", f"only:{patch}", "--pairs", "3", "--name", "delay")
    (one,) = slower["scenarios"]
    assert (one["verdict"], one["pairs"], one["rejected"]) == ("worse", 3, []), slower
    assert one["lo"] > 1.5
    own = records(delayed, "delay")
    assert len({record.trial for record in own}) == 6
    assert {record.vllm.variant for record in own if record.vllm} == {"base", f"only:{patch}"}
    extra = [after - before for before, after in zip(tpots(own, "A"), tpots(own, "B"), strict=True)]
    assert statistics.median(extra) == pytest.approx(100, rel=0.6), "the patch costs its 100 ms a token"

    # At 5 % an A/A is "worse" once in forty runs; a threshold far above this machine's noise makes that no flake.
    same = outcome(build, delayed, "--a", "base", "--b", "base", "--pairs", "2", "--name", "same", "--client", "builtin", "--threshold", "0.3")
    assert same["scenarios"][0]["verdict"] != "worse", same
    assert same["scenarios"][0]["pairs"] == 2


def test_both_clients_measure_the_same_server_alike(delayed: Path) -> None:
    """On the delayed server, where a token takes 0.1 s and more, so that the machine's noise stays small beside it."""
    medians = {}
    with serving(delayed) as url:
        for client in ("vllm", "builtin"):
            done = bench_ab(delayed, "--base-url-a", url, "--base-url-b", url, "--pairs", "2", "--name", f"client-{client}", "--client", client)
            assert done.returncode == 0, done.stderr
            own = records(delayed, f"client-{client}")
            assert [record.status for record in own] == ["passed"] * 4
            medians[client] = {metric: statistics.median((record.metrics or {})[metric] for record in own)
                               for metric in ("median_tpot_ms", "median_e2el_ms", "total_token_throughput")}
    for metric, value in medians["vllm"].items():
        assert abs(math.log(medians["builtin"][metric] / value)) < 0.15, medians


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """The base URL of a server of the installed (delayed) variant."""
    with subprocess.Popen([sys.executable, str(ROOT / "build.py"), "serve", "--port", "0", "--json"], cwd=root, text=True,
                          env=environment(root), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline()]
            while lines[-1] not in ("", "}\n"):
                lines.append(process.stdout.readline())
            assert lines[-1], "serve ended before it was ready"
            yield str(json.loads("".join(lines))["base_url"])
        finally:
            process.terminate()  # as Ctrl-C: it stops its whole tree
            try:
                process.wait(60)
            finally:
                process.kill()


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "TUNEFORK_ROOT": str(root)}


def bench_ab(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "build.py"), "bench", "ab", *LOAD[:2], *LOAD[4:], *arguments], cwd=root, env=environment(root),
                          capture_output=True, text=True, timeout=900, check=False)


def outcome(build: Build, root: Path, *arguments: str) -> dict[str, Any]:
    found = json.loads(build("bench", "ab", *LOAD, *arguments, root=root, timeout_s=1800).stdout)
    assert isinstance(found, dict)
    return found


def tpots(own: list[Record], arm: str) -> list[float]:
    """Median TPOT of an arm's trials, by pair, in ms."""
    chosen = sorted((record for record in own if record.labels["arm"] == arm), key=lambda record: int(record.labels["pair"]))
    return [(record.metrics or {})["median_tpot_ms"] for record in chosen]
