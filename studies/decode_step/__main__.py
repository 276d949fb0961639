"""``python -m studies.decode_step {check,warm,time,chain,trace} ...``; h200.sh runs them in order."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from studies.decode_step import check, ops
from studies.decode_step.chain import chain_rows, timeline
from tunefork.bench.kernels.timing import compare

CASES = [("router", 1, tokens) for tokens in (1, 4, 16, 32, 64)]
CASES += [("o", 1, tokens) for tokens in (1, 4, 16)] + [("o", 8, tokens) for tokens in (4, 16)]
CASES += [("qkv", 8, tokens) for tokens in (1, 4, 16)] + [("qkv", 1, 4), ("head", 1, 4)]
CASES += [("attend", tp, tokens) for tp in (1, 8) for tokens in (1, 4, 16)]


def emit(path: Path, row: dict[str, Any]) -> None:
    """One JSON line, on disk at once."""
    print(json.dumps(row), flush=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def warm(cases: Sequence[tuple[str, int, int]], part: int, parts: int) -> None:
    """Compile what `time` will run, into Triton's cache."""
    for at, (op, tp, tokens) in enumerate(cases):
        if at % parts == part:
            calls, peers, ours = ops.OPS[op](tp, tokens)
            for name in (*peers, *ours):
                try:
                    calls(name)[0]()
                except Exception as caught:  # a configuration that a chip cannot launch (registers) is a row of `time`
                    print(f"{op} {name}: {type(caught).__name__}", file=sys.stderr)
            torch.cuda.synchronize()


def timed(cases: Sequence[tuple[str, int, int]], path: Path, seconds: float, rounds: int) -> None:
    """One row for each case and implementation; cases that no time is left for are said."""
    end = time.monotonic() + seconds
    for op, tp, tokens in cases:
        if time.monotonic() > end:
            emit(path, {"kind": "left out", "op": op, "tp": tp, "tokens": tokens})
            continue
        calls, peers, ours = ops.OPS[op](tp, tokens)
        lists = {}
        for name in (*peers, *ours):
            try:
                lists[name] = calls(name)
                lists[name][0]()
            except Exception as caught:
                del lists[name]
                emit(path, {"kind": "failed", "op": op, "tp": tp, "tokens": tokens, "impl": name, "error": str(caught)[:200]})
        for name, found in compare(lists, rounds).items():
            emit(path, {"kind": "op", "op": op, "tp": tp, "tokens": tokens, "impl": name, "us": found.us, "lo": found.us_lo, "hi": found.us_hi,
                        "config": repr(ours[name]) if name in ours else ""})  # fmt: skip
        torch.cuda.empty_cache()


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m studies.decode_step")
    words.add_argument("what", choices=["check", "warm", "time", "chain", "trace"])
    words.add_argument("--out", type=Path, default=Path("decode_step.jsonl"))
    words.add_argument("--part", type=int, default=0)
    words.add_argument("--parts", type=int, default=1)
    words.add_argument("--seconds", type=float, default=120.0)
    words.add_argument("--rounds", type=int, default=16)
    words.add_argument("--op", choices=sorted(ops.OPS), help="warm and time this one alone; check: attend alone")
    given = words.parse_args()
    cases = [case for case in CASES if given.op in (None, case[0])]
    if given.what == "check":
        for row in check.rows() if given.op != "attend" else (check.attend_row(*case) for case in check.ATTEND[given.part :: given.parts]):
            emit(given.out, {"kind": "check", **row})
    elif given.what == "warm":
        warm(cases, given.part, given.parts)
    elif given.what == "time":
        timed(cases, given.out, given.seconds, given.rounds)
    elif given.what == "chain":
        for row in chain_rows(given.rounds):
            emit(given.out, {"kind": "chain", **row})
    else:
        for row in timeline():
            emit(given.out, {"kind": "kernel", **row})
    return 0


if __name__ == "__main__":
    sys.exit(main())
