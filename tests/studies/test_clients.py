"""The client study: its table, and our client on its server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studies.clients import CLIENTS, OSL, TPOT_MS, TTFT_MS, Load, Said, measured, table

E2E = TTFT_MS + TPOT_MS * (OSL - 1)


def test_the_table_is_errors_against_the_truth() -> None:
    good = Said("ours", 4, TTFT_MS, TPOT_MS, E2E, 2.0, 5.0, 1.0)
    bad = replace(good, client="vllm", ttft=1.5 * TTFT_MS, cpu_s=6.0, late_ms=0.5)
    lines = table([good, bad, replace(good, conc=64)])
    assert lines[2:] == ["| 4 | ours | +0.0 % | +0.0 % | +0.0 % | 2.0 | 1.00x | 1.0 ms |", "| 4 | vllm | +50.0 % | +0.0 % | +0.0 % | 6.0 | 3.00x | 0.5 ms |",
                         "| 64 | ours | +0.0 % | +0.0 % | +0.0 % | 2.0 | 1.00x | 1.0 ms |"]


def test_every_client_gets_the_same_load(tmp_path) -> None:
    one = Load("http://127.0.0.1:1", 7, 70, "/tokenizer", tmp_path)
    for command, _read in CLIENTS.values():
        words = command("program", one)
        assert {"7", "70", "http://127.0.0.1:1"} <= set(words)


@pytest.mark.slow
def test_our_client_meets_the_truth() -> None:
    said = measured("ours", "", 2, "")
    # No token comes before it is due; how late one comes is the machine's.
    assert said.ttft >= TTFT_MS - 1 and said.tpot >= TPOT_MS - 1 and said.e2e >= E2E - 2
    assert said.cpu_s > 0
