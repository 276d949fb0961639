"""summary.txt says what must be known to read its table."""

from __future__ import annotations

import re

import pytest


@pytest.mark.slow
def test_the_seeds_summary(world) -> None:
    done = world.seed("--profile", "seed", "--isl", "8192", "--osl", "1024", "--conc", "4", "--conc", "16", "--tp", "1", "--seed-divisor")
    assert done.code == 0, done.err
    text = (world.batches[0] / "summary.txt").read_text()
    for says in ("variant all", "accuracy: PASSED (wikitext, 29 documents, lm_eval 0.4.13)", "byte_perplexity      4.0000  (<= 4.2824)",
                 "2 passed of 2", "\nCONC=4: PASSED (", "\nCONC=16: PASSED (", "Total tests: 2  Passed: 2  Failed: 0  Seconds: ", "x: ours / B200; throughput and interactivity: higher is better, E2E: lower is better",
                 "no B200 value was published for CONC 16", "GPUs used by the server: 1 (TP x PP x DP)",
                 "divided by 8 as the seed's harness does (--seed-divisor); GPUs used: 1",
                 "the E2E ratio is biased by about 11 % against the MI355X"):
        assert says in text, text
    # By hand: 10 rounds of 50 ms + 1023 x 10 ms = 10.28 s, 40 x 9216 tokens; 100 tokens/s/user against 408.40.
    score = done.json["configurations"][0]["score"]
    assert score["divisor_kind"] == "seed"
    assert abs(score["tput_per_gpu"] - 40 * 9216 / 102.8 / 8) < 1e-6
    row = next(line for line in text.splitlines() if line.split()[:3] == ["8192", "1024", "4"])
    assert row.split()[4:10] == ["448.25", "10280.00", "100.00", "0.256", "4.519", "0.245"]


@pytest.mark.slow
def test_the_summary_has_date_seconds_and_totals(world) -> None:
    world.fake = {"client": {"4": "requests-fail"}}
    done = world.run("--profile", "smoke")
    assert done.code == 12, done.err
    text = (world.batches[0] / "summary.txt").read_text()
    assert re.match(r"begun \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\n", text), text
    assert re.search(r"^CONC=1: PASSED \(\d+s\)$", text, re.MULTILINE), text
    assert re.search(r"^CONC=4: FAILED \(\d+s\)$", text, re.MULTILINE), text
    assert re.search(r"^Total tests: 2  Passed: 1  Failed: 1  Seconds: \d+$", text, re.MULTILINE), text
