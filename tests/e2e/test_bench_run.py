"""`bench run` for real: the patched vLLM, its own client, lm_eval, the tiny model - one server start on this machine's CPU.

CPU latency is noise here; asserted are counts, accuracy, what was written, and that nothing is left running.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tunefork.base import ports
from tunefork.bench.load.checks import check
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import CLIENT, Store

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def ran(developed: Path, build: Build, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """What one run printed, its results directory, and what it said on the way."""
    out = tmp_path_factory.mktemp("bench")
    done = build("bench", "run", "--profile", "smoke", "--conc", "2", "--port", "0", "--out", str(out), "--json", timeout_s=1500)
    return json.loads(done.stdout), out, done.stderr


@pytest.fixture(scope="module")
def record(developed: Path, ran: tuple[dict[str, Any], Path, str]) -> tuple[Store, Record]:
    store = Store(developed / "work" / "records")
    return store, store.verify(ran[0]["configurations"][0]["record"])


def test_it_passes_and_says_so(ran: tuple[dict[str, Any], Path, str]) -> None:
    said, out, _ = ran
    configuration, = said["configurations"]
    assert (said["profile"], configuration["status"]) == ("smoke", "passed")
    assert (configuration["isl"], configuration["osl"], configuration["conc"]) == (64, 32, 2)
    batch, = out.iterdir()
    assert said["batches"] == [str(batch)]
    written = json.loads((batch / "result_isl64_osl32_conc2.json").read_text())
    assert written["completed"] == written["successful_requests"] == 20
    assert written["total_output_tokens"] == 20 * 32
    assert written["tput_per_gpu"] == pytest.approx((written["total_input_tokens"] + 640) / written["duration"])
    assert "1 passed of 1" in (batch / "summary.txt").read_text()


def test_the_accuracy_is_what_transformers_says(ran: tuple[dict[str, Any], Path, str], record: tuple[Store, Record]) -> None:
    accuracy = ran[0]["accuracy"]
    made = json.loads((Path(record[1].server.model) / "manifest.json").read_text())
    assert accuracy["status"] == "passed"
    # lm_eval also scores each story's first token, which the manifest's figure leaves out: a few bits a story.
    assert accuracy["metrics"]["bits_per_byte"] == pytest.approx(made["transformers_bits_per_byte"], rel=0.02)


def test_the_record_names_what_was_measured(record: tuple[Store, Record]) -> None:
    store, found = record
    assert found.vllm is not None
    assert len(found.vllm.commit) == 40
    assert found.vllm.tree[:12] in found.server.version
    assert {"vllm", "lm_eval", "python", "torch"} <= set(found.versions)
    assert found.timing is not None
    assert min(found.timing.before_s, found.timing.after_s) >= 0 and found.timing.client_s > 0
    raw = json.loads(gzip.decompress(store.raw(found.id, CLIENT)))
    assert check(raw, found.scenario) == [], "and the checks still pass on the raw answer"


def test_the_real_client_was_told_everything(record: tuple[Store, Record]) -> None:
    store, found = record
    log = store.raw(found.id, "client.log").decode()
    assert "Warmup run completed." in log
    assert "no longer sets temperature" not in log, "the client warns where none is given"


def test_nothing_is_left(ran: tuple[dict[str, Any], Path, str], record: tuple[Store, Record]) -> None:
    port = record[1].server.base_url.rsplit(":", 1)[1]
    assert ports.is_free("127.0.0.1", int(port))
    words = {str(ran[1]), f"--port {port}"}
    left = [line for process in psutil.process_iter(["cmdline"]) if any(word in (line := " ".join(process.info["cmdline"] or ()))
                                                                        for word in words)]
    assert left == []


def test_resume_believes_it_and_starts_nothing(ran: tuple[dict[str, Any], Path, str], build: Build) -> None:
    done = build("bench", "run", "--resume", ran[0]["batches"][0], "--json", timeout_s=120)
    assert json.loads(done.stdout)["configurations"] == ran[0]["configurations"]
    assert "starting vLLM" not in done.stderr


def test_query_finds_it(ran: tuple[dict[str, Any], Path, str], build: Build) -> None:
    record_id = ran[0]["configurations"][0]["record"]
    done = build("bench", "query", "--json", "--sql", f"SELECT count(*) AS requests, min(output_len) AS shortest FROM requests "
                                                      f"WHERE record = '{record_id}'", timeout_s=120)
    assert json.loads(done.stdout) == [{"requests": 20, "shortest": 32}]
