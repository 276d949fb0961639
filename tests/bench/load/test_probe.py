"""The sampler beside somebody else's event loop: it runs a module as ``python -m`` does, and says how late its loop was during the load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tunefork.bench.load import client_vllm, probe

MODULE = """
import asyncio, json, sys, time
async def main():
    for _ in range(5):
        await asyncio.sleep(0.05)
        time.sleep(0.3)
    await asyncio.sleep(0.05)
    if "fails" in sys.argv:
        raise SystemExit(7)
print(json.dumps([__name__, sys.argv[1:], sys.path[0], [one for one in sys.path if one.endswith("bench/load")], sys.argv[0].endswith("busy.py")]))
asyncio.run(main())
"""


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "busy.py").write_text(MODULE)
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder, timeout=120)


@pytest.mark.slow
def test_it_runs_a_module_as_dash_m_does(tmp_path: Path) -> None:
    plain = [sys.executable, "-m", "busy", "--result-dir", "x y"]
    as_typed, sampled = run(plain, tmp_path), run(client_vllm.probed(plain, tmp_path / "lags.json"), tmp_path)
    told, again = json.loads(as_typed.stdout), json.loads(sampled.stdout)
    assert told[0] == "__main__" and told[3] == [] and told[4]
    assert again == [*told[:2], "", *told[3:]], "the folder at hand comes first in both"


@pytest.mark.slow
def test_it_sees_a_loop_that_is_held_up_and_an_end_by_an_error(tmp_path: Path) -> None:
    done = run(client_vllm.probed([sys.executable, "-m", "busy", "fails"], Path("lags.json")), tmp_path)
    assert done.returncode == 7, done.stderr
    lags = [late for _, late in json.loads((tmp_path / "lags.json").read_text())]
    assert sum(late > 0.2 for late in lags) >= 4, lags


@pytest.mark.slow
def test_samples_that_cannot_be_written_fail_no_client(tmp_path: Path) -> None:
    assert run(client_vllm.probed([sys.executable, "-m", "busy"], Path("no/such/folder.json")), tmp_path).returncode == 0


def test_what_counts_is_the_load_and_not_the_start(tmp_path: Path) -> None:
    path = tmp_path / "lags.json"
    path.write_text(json.dumps([*((at * 1.0, 5.0) for at in range(50)), *((50 + at * probe.EVERY_S, 0.004) for at in range(200))]))
    assert client_vllm.loop_lag(path, 3.9) == {"client_lag_p99_ms": pytest.approx(4.0)}
    assert client_vllm.loop_lag(path, 30.0)["client_lag_p99_ms"] > 1000
    assert client_vllm.loop_lag(path, 1.0) == {}, "too short to tell"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "[1]", '{"a": 1}', '[["x", 1]]'])
def test_without_samples_nothing_is_said(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "lags.json").write_text(text)
    assert client_vllm.loop_lag(tmp_path / "lags.json", 3.0) == {}
