"""Pack here, time there.

    python -m studies.cubins pack --out .dev-cubins --triton 3.6.0 3.7.1 3.8.0 3.9.0 --tp 1 8 --tokens 4 16 64 1024 8192    # no GPU
    python -m studies.cubins time .dev-cubins --out rows.jsonl --seconds 300                                                # on an H200

`time` checks every layer against float32 first (4e-3), then times all Tritons of a row and the installed one's own launch together, under graphs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from studies.cubins import pack
from tunefork.base.errors import BadInput, MissingTool, TuneforkError


def _child(words: argparse.Namespace, triton: str) -> list[pack.Layer]:
    """Compile under another Triton, in a process that has it first on its path."""
    from tunefork.kernels.ratchet.versions import folder

    argv = [sys.executable, "-P", "-m", "studies.cubins", "compile", "--out", str(words.out / triton), "--tp", *map(str, words.tp), "--tokens",
            *map(str, words.tokens), *(["--ring"] if words.ring else [])]  # fmt: skip
    paths = [str(folder(triton)), str(Path(__file__).resolve().parents[2])]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, text=True, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise BadInput(f"triton {triton} could not compile the rows: {(done.stderr.strip().splitlines() or ['no word'])[-1]}", "try --tokens one at a time")
    return pack.read(words.out / triton)


def compile_here(words: argparse.Namespace) -> list[pack.Layer]:
    """With this process's Triton, into a pack of its own."""
    words.out.mkdir(parents=True, exist_ok=True)
    layers = [pack.compile_layer(tp, tokens, words.out, words.ring) for tp in words.tp for tokens in words.tokens]
    pack.write(layers, words.out)
    return layers


def make(words: argparse.Namespace) -> None:
    """One pack of all versions: each compiled in a folder of its own, then moved together (equal cubins are one file)."""
    words.out.mkdir(parents=True, exist_ok=True)
    layers = []
    for triton in words.triton:
        begin = time.monotonic()
        layers += _child(words, triton)
        for path in (words.out / triton).glob("*.cubin"):
            path.rename(words.out / path.name)
        (words.out / triton / pack.MANIFEST).unlink()
        (words.out / triton).rmdir()
        print(f"Triton {triton}: {sum(layer.triton == triton for layer in layers)} rows in {time.monotonic() - begin:.0f} s", flush=True)
    size = pack.write(layers, words.out)
    print(f"{words.out}: {len(layers)} layers, {len(list(words.out.glob('*.cubin')))} cubins, {size / 2**20:.1f} MiB of at most {pack.LIMIT >> 20}")


def timed(words: argparse.Namespace) -> None:
    """Every row of a pack, one JSON line for each implementation, on disk at once."""
    import torch

    if not torch.cuda.is_available():
        raise MissingTool("no GPU: nothing can be timed", "carry the pack to a machine with one")
    from studies.cubins.driver import Cuda
    from studies.cubins.launch import Loaded, current_stream
    from tunefork.bench.kernels import cases
    from tunefork.bench.kernels.timing import compare
    from tunefork.bench.kernels.tune import environment
    from tunefork.kernels.moe_a16w4 import fused_moe, make_workspace
    from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

    def emit(row: dict[str, Any]) -> None:
        print(json.dumps(row), flush=True)
        with words.out.open("a") as file:
            file.write(json.dumps(row) + "\n")

    end = time.monotonic() + words.seconds
    layers = pack.read(words.pack)
    driver = Cuda()
    for tp in sorted({layer.tp for layer in layers}):
        plain = cases.random_plain(tp, "cuda")
        weights = cases.layers(plain, tp)
        for tokens in sorted({layer.tokens for layer in layers if layer.tp == tp}):
            about = {"tp": tp, "M": tokens}
            if time.monotonic() > end:
                emit({**about, "left out": "no time"})
                continue
            problem = cases.MoeProblem(tp, tokens)
            data = cases.inputs(problem, "cuda", cases.calls(problem))
            want = fused_moe_reference(*data[0], plain)
            case = pack.case_of(tp, tokens)
            config = pack.config_of(case, next(layer.ring for layer in layers if (layer.tp, layer.tokens) == (tp, tokens)))
            space, out = make_workspace(weights[0], tokens, config=config), torch.empty_like(data[0][0])
            calls: dict[str, list[Callable[[], Any]]] = {}
            calls["installed"] = [partial(fused_moe, *d, weights[i % len(weights)], out=out, workspace=space, config=config) for i, d in enumerate(data)]
            shared = environment(case, config, weights[0], *data[0])
            for layer in (one for one in layers if (one.tp, one.tokens) == (tp, tokens)):
                try:
                    loaded = Loaded(layer, words.pack, driver)
                    calls[layer.triton] = [loaded.bound({**shared, **weights[i % len(weights)].arguments, "x": x, "logits": logits}, current_stream)
                                           for i, (x, logits) in enumerate(data)]
                    shared["out"].fill_(float("nan"))
                    got = calls[layer.triton][0]().float()
                    torch.cuda.synchronize()
                    error = float((got - want).norm() / want.norm())
                    if not error <= 4e-3:
                        raise TuneforkError(f"relative error {error:.2e}, at most 4e-3", "no time is taken of a wrong kernel")
                except TuneforkError as caught:
                    calls.pop(layer.triton, None)
                    emit({**about, "triton": layer.triton, "failed": str(caught)[:200]})
            for name, taken in compare(calls, words.rounds).items():
                emit({**about, "triton": name, "us": taken.us, "us_lo": taken.us_lo, "us_hi": taken.us_hi, "rounds": len(taken.rounds)})
            del data, calls, shared
            torch.cuda.empty_cache()
        del plain, weights


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m studies.cubins", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="what", required=True)
    for name in ("pack", "compile"):
        way = ways.add_parser(name)
        way.add_argument("--out", type=Path, required=True)
        way.add_argument("--tp", type=int, nargs="+", default=[1, 8])
        way.add_argument("--tokens", type=int, nargs="+", default=[4, 16, 64, 1024, 8192])
        way.add_argument("--ring", action="store_true", help="what config.RINGS has in the place of the table's row, where there are so many tokens")
        if name == "pack":
            way.add_argument("--triton", nargs="+", default=["3.6.0", "3.7.1", "3.8.0", "3.9.0"])
    way = ways.add_parser("time")
    way.add_argument("pack", type=Path)
    way.add_argument("--out", type=Path, default=Path("cubins.jsonl"))
    way.add_argument("--seconds", type=float, default=300.0)
    way.add_argument("--rounds", type=int, default=12)
    words = parser.parse_args(argv)
    try:
        {"pack": make, "compile": compile_here, "time": timed}[words.what](words)
    except TuneforkError as error:
        print(error.told, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
