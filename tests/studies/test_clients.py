"""The client study: its table, and our client on its server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studies.clients import CLIENTS, OSL, TPOT_MS, TTFT_MS, Load, Said, measured, table

E2E = TTFT_MS + TPOT_MS * (OSL - 1)


def said(client: str, conc: int, ttft: float = TTFT_MS, cpu_s: float = 2.0) -> Said:
    return Said(client, conc, ttft, TPOT_MS, E2E, TTFT_MS, TPOT_MS, E2E, cpu_s, 5.0, 3.0, 1.0)


def test_the_table_is_errors_against_what_the_server_did() -> None:
    late = replace(said("ours", 64), true_ttft=1.25 * TTFT_MS, ttft=1.25 * TTFT_MS, lag_ms=None)
    lines = table([said("ours", 4), said("vllm", 4, 1.5 * TTFT_MS, 6.0), said("vllm", 4, 1.7 * TTFT_MS, 4.0), late])
    assert lines[2:] == ["| 4 | ours | +0.0 | +0.0 | +0.0 | 2.0 | 1.0x | 3 | 1 |",
                         "| 4 | vllm | +60.0 (+50.0 to +70.0) | +0.0 (+0.0 to +0.0) | +0.0 (+0.0 to +0.0) | 5.0 (4.0 to 6.0) | 2.5x | 3 (3 to 3) | 1 (1 to 1) |",
                         "| 64 | ours | +0.0 | +0.0 | +0.0 | 2.0 | 1.0x | - | 1 |"], "a server that was late is the truth, however late"


def test_every_client_gets_the_same_load(tmp_path) -> None:
    one = Load("http://127.0.0.1:1", 7, 70, "/tokenizer", tmp_path)
    for command, _read in CLIENTS.values():
        words = command("program", one)
        for value in ("7", "70", "http://127.0.0.1:1", "64", "16"):
            assert any(value in word.replace("=", ",").split(",") for word in words), (words[0], value)


@pytest.mark.slow
def test_our_client_meets_the_truth() -> None:
    said = measured("ours", "", 2, "")
    # No token comes before the server sends it; how long one is under way is the machine's.
    assert said.true_ttft >= TTFT_MS and said.true_e2e >= E2E
    assert said.error("ttft") > -1 and said.error("e2e") > -1 and abs(said.error("tpot")) < 20
    assert said.cpu_s > 0 and said.lag_ms is not None and said.lag_ms < 1000
