"""The layer with a ring: its code without a GPU, its checks and its times on one.

    python3 -m studies.gluon_up compiled --tiles 128x160 128x288 --tp 1 8                       # no GPU
    python3 -m studies.gluon_up warm --tiles 128x160 128x288 --tp 1 2 4 8 --tokens 300 4096     # compiles in parallel, into Triton's cache
    python3 -m studies.gluon_up checks --tiles 128x288 --tp 8 1 2 4 --tokens 300 1000 4096 --out checks.jsonl
    python3 -m studies.gluon_up layer --tiles 128x160 128x288 --tp 8 1 --tokens 4096 8192 --out layer.jsonl
    python3 -m studies.gluon_up steps --tiles 128x160 128x288 --tp 8 --tokens 16384 --out steps.jsonl

Rows are JSON lines, on disk as they come. Exit code 1 where a check failed, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from studies.cubins.pack import case_of
from studies.gluon_up.tiles import TILES, layer
from tunefork.kernels.moe_a16w4.config import MoeShape

OTHER = MoeShape(4096, 1536, 16, 4)  # K of both GEMMs is whole chunks


def _shapes(words: argparse.Namespace) -> list[MoeShape]:
    return [case_of(tp, 1).shape for tp in words.tp] + ([OTHER] if words.other else [])


def _rows(words: argparse.Namespace) -> Iterator[dict[str, Any]]:
    from studies.gluon_up.checks import checks
    from studies.gluon_up.timed import timed

    configs = {name: layer(name) for name in words.tiles}
    if words.what == "checks":
        for name, config in configs.items():
            yield from checks(name, config, _shapes(words), words.tokens)
        return
    for tp in words.tp:
        yield from timed(tp, words.tokens, configs, seconds=words.seconds / len(words.tp), rounds=words.rounds, steps=words.what == "steps")


def _compiled(words: argparse.Namespace) -> None:
    import triton

    from studies.gluon_up.compiled import codes

    for tp in words.tp:
        for name in words.tiles:
            for code in codes(name, tp):
                print(json.dumps({"triton": triton.__version__, "tile": name, "tp": tp, **asdict(code)}), flush=True)


def parsed(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m studies.gluon_up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="what", required=True)
    for name in ("compiled", "warm", "checks", "layer", "steps"):
        way = ways.add_parser(name)
        way.add_argument("--tiles", nargs="+", choices=sorted(TILES), default=["128x160", "128x288"])
        way.add_argument("--tp", type=int, nargs="+", default=[8, 1])
        if name != "compiled":
            way.add_argument("--tokens", type=int, nargs="+", required=True)
        if name == "checks":
            way.add_argument("--other", action="store_true", help=f"{OTHER}, too")
        if name in ("checks", "layer", "steps"):
            way.add_argument("--out", type=Path, required=True, help="JSON lines are added to this file")
        if name in ("layer", "steps"):
            way.add_argument("--seconds", type=float, default=240.0)
            way.add_argument("--rounds", type=int, default=16)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    words = parsed(sys.argv[1:] if argv is None else argv)
    if words.what == "compiled":
        _compiled(words)
        return 0
    if words.what == "warm":
        from studies.gluon_up.compiling import jobs, warm

        found = jobs(words.tiles, words.tp, words.tokens)
        wrong = warm(found)
        print(*wrong, f"{len(found) - len(wrong)} of {len(found)} kernels compiled", sep="\n")
        return 1 if wrong else 0
    import torch

    if not torch.cuda.is_available():
        print("no GPU: nothing can be checked or timed; `compiled` needs none", file=sys.stderr)
        return 2
    bad = 0
    for row in _rows(words):
        bad += row.get("ok") is False
        print(json.dumps(row), flush=True)
        with words.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
