"""One measurement: its record whatever happens, and what it costs beside the client."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tunefork.base import program
from tunefork.base.errors import ServeError
from tunefork.base.program import Finished, run_program
from tunefork.bench.load import client_vllm
from tunefork.bench.profiles import rules
from tunefork.bench.records.store import Store
from tunefork.bench.run import measure as measure_module
from tunefork.bench.run.measure import Measurement, measure


@pytest.fixture
def shared(tmp_path: Path, answer: dict[str, Any]) -> Measurement:
    """A measurement whose client answers at once, as the real one did."""
    return Measurement(store=Store(tmp_path / "records"), rules=rules.Rules(), profile="smoke", batch="b", project="p",
                       client=lambda target, one, folder, timeout_s: (Finished(0, 0.001), answer, []))


def test_the_clients_time_is_not_the_tools_own(shared: Measurement, target, scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the client and the steps around it move: 1 s before it, 100 s in it, 2 s of checks after it."""
    now = 1000.0
    monkeypatch.setattr("tunefork.bench.run.measure.time", SimpleNamespace(monotonic=lambda: now))

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    def client(*given: Any) -> Any:
        passes(100.0)
        return Finished(0, 100.0), shared.client(*given)[1], []

    class Folder(type(tmp_path)):  # type: ignore[misc]
        def mkdir(self, *given: Any, **options: Any) -> None:
            super().mkdir(*given, **options)
            passes(1.0)

    checks = measure_module.check
    monkeypatch.setattr(measure_module, "check", lambda *given: passes(2.0) or checks(*given))
    record = measure(replace(shared, client=client), target, scenario, None, Folder(tmp_path / "a"))
    assert record.status == "passed"
    assert record.timing is not None
    assert (record.timing.before_s, record.timing.client_s, record.timing.after_s) == (1.0, 100.0, 2.0)


def test_starting_and_ending_the_client_is_in_its_time(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run_program(["/bin/sleep", "0.5"], env={}, cwd=tmp_path, log=tmp_path / "log", deadline_s=300)
    assert done.exit_code == 0 and not done.late
    assert 0.5 <= done.seconds <= time.monotonic() - started


def test_a_clock_that_jumps_changes_no_duration(shared: Measurement, target, scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(0, -1000, -1))
    monkeypatch.setattr(time, "time", lambda: 1e9 + 3600 * next(hours))
    started = time.monotonic()
    record = measure(shared, target, scenario, None, tmp_path / "a")
    assert record.timing is not None
    parts = (record.timing.before_s, record.timing.client_s, record.timing.after_s)
    assert min(parts) >= 0 and sum(parts) <= time.monotonic() - started, "hours have passed on the wall clock alone"
    again = measure(shared, target, scenario, None, tmp_path / "b")
    assert again.id != record.id
    assert len(shared.store.ids()) == 2


def test_a_dead_server_is_a_record(shared: Measurement, target, scenario, tmp_path: Path) -> None:
    def dies(*_args: Any) -> Any:
        raise ServeError("the server ended by itself (exit code 7)", "")

    record = measure(replace(shared, client=dies), target, scenario, None, tmp_path / "a")
    assert (record.status, record.problems[0].kind, record.score) == ("failed", "server-died", None)
    assert shared.store.read(record.id) == record


def test_an_interrupt_is_a_record_and_goes_on(shared: Measurement, target, scenario, tmp_path: Path) -> None:
    def interrupted(*_args: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(replace(shared, client=interrupted), target, scenario, None, tmp_path / "a")
    record = next(iter(shared.store.records()))
    assert record.status == "interrupted"  # type: ignore[union-attr]


def test_what_the_client_is_told(target, scenario, tmp_path: Path) -> None:
    words = client_vllm.arguments(target, scenario, tmp_path)
    told = dict(itertools.pairwise(words))
    assert {key: told[key] for key in ("--temperature", "--random-range-ratio", "--percentile-metrics", "--num-warmups", "--num-prompts",
                                       "--max-concurrency", "--request-rate", "--random-input-len", "--random-output-len", "--seed")} == {
        "--temperature": "0", "--random-range-ratio": "0.0", "--percentile-metrics": "ttft,tpot,itl,e2el", "--num-warmups": "4",
        "--num-prompts": "10", "--max-concurrency": "2", "--request-rate": "inf", "--random-input-len": "64",
        "--random-output-len": "32", "--seed": "0"}
    assert {"--ignore-eos", "--save-result", "--save-detailed"} <= set(words)


def test_the_client_does_not_run_the_variants_code(target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/work/vllm@base")
    assert "PYTHONPATH" not in target.environment()


def test_a_proxy_of_the_environment_is_passed_by_the_client_and_lm_eval(target, monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep the proxy, which lm_eval may need for its data, and go straight to the server: by what Python's own rules say."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    host = urlsplit(target.server.base_url).hostname
    environment = target.environment()
    assert {environment[name] for name in ("no_proxy", "NO_PROXY")} == {f"example.org,{host}"}
    asked = "import urllib.request as r; print(r.getproxies()['http'], *(bool(r.proxy_bypass(one)) for one in (" + repr(host) + ", 'example.org', 'example.com')))"
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["http://127.0.0.1:9", "True", "True", "False"]


def test_a_programs_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "GRACE_S", 1.0)
    done = run_program(["/bin/sleep", "600"], env={}, cwd=tmp_path, log=tmp_path / "log", deadline_s=0.5)
    assert (done.exit_code, done.late) == (None, True)
    assert "did not end within" in done.how
