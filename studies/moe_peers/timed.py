"""What runs on the GPU. Every function yields rows; an implementation that fails is a row that says so, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from studies.moe_peers import layers
from studies.moe_peers.layers import Cell
from tunefork.bench.kernels import cases, peers
from tunefork.bench.kernels.measure import PEER_TOLERANCE, TOLERANCE, measure_problem
from tunefork.bench.kernels.timing import capture, compare, told
from tunefork.kernels.arch import SM90
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4 import Weights, fused_moe, make_workspace
from tunefork.kernels.moe_a16w4.config import table
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

Row = dict[str, Any]


def counts(words: str) -> tuple[int, ...]:
    """Numbers of tokens."""
    return tuple(map(int, words.split()))


CELLS = {8: counts("24 32 48 64 96 128 192 256 300 384 512 700 1152 1280"), 1: counts("96 128 192 256 300 384 512 700 1152 1280 1536 4096 6144")}
OTHER_TPS = {tp: counts("1 8 64 300 1280 8192") for tp in (2, 4)}
RANKS = tuple(MODEL.intermediate // tp for tp in (1, 8))
OTHERS = tuple(Cell(MODEL.hidden, inter, 32, 4, tokens) for inter in RANKS for tokens in (1, 8, 64, 128, 300, 1024, 4096))
OTHERS += tuple(Cell(4096, 1536, 128, 8, tokens) for tokens in (1, 8, 64, 128, 300, 1024))
OTHERS += tuple(Cell(MODEL.hidden, inter, 128, 4, tokens, routing) for routing in ("zipf", "hot") for inter in RANKS for tokens in (8, 64, 300, 1024, 4096))
CAPTURES = (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))  # vLLM's default sizes up to 512


PEERS = ("tk", "tk-4w", "tk-splitk", "tk-4w-splitk", "marlin", "humming", "humming-grouped")
SMI = ("nvidia-smi", "--query-gpu=clocks.sm,power.draw,clocks_event_reasons.active,temperature.gpu", "--format=csv,noheader,nounits", "-lms", "200")


def peers_of(plain: cases.Plain, names: Sequence[str] = PEERS) -> dict[str, peers.Layer]:
    """Those that build here; the others are named."""
    return {name: layer for name, layer in peers.available(plain, partial(print, flush=True)).items() if name in names}


def error_of(got: torch.Tensor, want: torch.Tensor) -> float:
    """|got - want| / |want|; at most 512 rows are compared."""
    return float((got[: want.shape[0]].float() - want).norm() / want.norm())


def checked(makers: Mapping[str, tuple[float, Callable[[], Sequence[cases.Call]]]], want: torch.Tensor, about: Row) -> Iterator[tuple[str, Any]]:
    """(name, calls) of what builds and is right within its tolerance, and ("", row) for each that does not or is not."""
    for name, (limit, make) in makers.items():
        try:
            calls = make()
            error = error_of(calls[0](), want)
            torch.cuda.synchronize()
            if error <= limit:
                yield name, calls
            else:
                yield "", {**about, "impl": name, "failed": f"relative error {error:.2e}, at most {limit:.0e}"}
        except Exception as caught:  # a peer may fail in any way; the others are still worth timing
            yield "", {**about, "impl": name, "failed": told(caught)}


def times(makers: Mapping[str, tuple[float, Callable[[], Sequence[cases.Call]]]], want: torch.Tensor, about: Row, rounds: int) -> Iterator[Row]:
    """Rows of one cell."""
    good: dict[str, Sequence[cases.Call]] = {}
    for name, found in checked(makers, want, about):
        if name:
            good[name] = found
        else:
            yield found
    failed: dict[str, str] = {}
    timed = compare(good, rounds, failed=failed.__setitem__)
    yield from ({**about, "impl": name, "failed": why} for name, why in failed.items())
    for name, taken in timed.items():
        yield {**about, "impl": name, "us": taken.us, "us_lo": taken.us_lo, "us_hi": taken.us_hi, "rounds": len(taken.rounds)}


def repeat_rows(repeats: int, end: float) -> Iterator[Row]:
    """Every tiled row of the table at its last M and just above the row before it: how many repeats differ from the first, workspaces poisoned."""
    before: dict[int, int] = {}
    for row in table(SM90.name):
        least = before.get(row.intermediate, 0) + 1
        before[row.intermediate] = row.tokens
        if not row.config.up.tiled:
            continue
        tp = MODEL.intermediate // row.intermediate
        plain = cases.random_plain(tp, "cuda")
        weights = cases.layers(plain, tp)[0]
        for count in dict.fromkeys((least, min(row.tokens, 2048))):
            about: Row = {"part": "repeats", "tp": tp, "M": count}
            if time.monotonic() > end:
                yield {**about, "left out": "no time"}
                continue
            ((x, logits),) = cases.inputs(cases.MoeProblem(tp, count), "cuda", 1)
            out, space = torch.empty_like(x), make_workspace(weights, count, config=row.config)
            first = fused_moe(x, logits, weights, out=out, workspace=space, config=row.config).clone()
            differ = torch.zeros((), dtype=torch.int64, device="cuda")
            for repeat in range(repeats):
                space.memory.fill_(255 if repeat % 2 else 0x3F)
                fused_moe(x, logits, weights, out=out, workspace=space, config=row.config)
                differ += (out.view(torch.int16) != first.view(torch.int16)).any()
            want = fused_moe_reference(x[:256], logits[:256], plain)
            yield {**about, "repeats": repeats, "differ": int(differ), "error": error_of(first, want)}
        del plain, weights
        torch.cuda.empty_cache()


def table_rows(tp: int, tokens: Sequence[int], rounds: int, end: float) -> Iterator[Row]:
    """Cells of the table beside all peers, as `bench kernels` measures them."""
    plain = cases.random_plain(tp, "cuda")
    weights = cases.layers(plain, tp)
    found = peers_of(plain)
    for count in tokens:
        about: Row = {"part": "table", "tp": tp, "M": count}
        if time.monotonic() > end:
            yield {**about, "left out": "no time"}
            continue
        try:
            for row in measure_problem(cases.MoeProblem(tp, count), plain, weights, found, rounds, partial(print, flush=True)):
                yield {**about, **{key: value for key, value in asdict(row).items() if key not in ("op", "tp", "M", "chip") and value not in (None, "")}}
        except Exception as caught:  # of ours or the floor: the next M is still worth its time
            yield {**about, "failed": told(caught)}
        torch.cuda.empty_cache()


def other_rows(wanted: Sequence[Cell], rounds: int, end: float) -> Iterator[Row]:
    """Other shapes and routings beside all peers that can run them."""
    held: tuple[Cell, cases.Plain, list[Weights], dict[str, peers.Layer]] | None = None
    for cell in wanted:
        about: Row = {"part": "others", **asdict(cell)}
        if time.monotonic() > end:
            yield {**about, "left out": "no time"}
            continue
        with layers.topk_of_peers(cell.topk):
            if held is None or (held[0].hidden, held[0].inter, held[0].experts, held[0].topk) != (cell.hidden, cell.inter, cell.experts, cell.topk):
                held = None
                torch.cuda.empty_cache()
                plain = layers.plain_of(cell, "cuda")
                found = peers_of(plain)
                held = cell, plain, layers.copies_of(cell, plain), found
            _, plain, weights, found = held
            data = layers.inputs_of(cell, "cuda", max(2, min(16, len(weights) * 4)))
            want = fused_moe_reference(data[0][0][:512], data[0][1][:512], plain, cell.topk)
            space, out = make_workspace(weights[0], cell.tokens, topk=cell.topk), torch.empty_like(data[0][0])
            ours = [partial(fused_moe, *one, weights[i % len(weights)], cell.topk, out=out, workspace=space) for i, one in enumerate(data)]
            makers: dict[str, tuple[float, Callable[[], Sequence[cases.Call]]]] = {"ours": (TOLERANCE, partial(list, ours))}
            makers |= {name: (PEER_TOLERANCE, partial(list, [partial(layer, *one) for one in data])) for name, layer in found.items()}
            yield from times(makers, want, about, rounds)


def clock_rows(tp: int, count: int, seconds: float) -> Iterator[Row]:
    """Each implementation alone, replayed for some seconds: its time, and what nvidia-smi says of clock, power and limits meanwhile. Where all run into
    the power limit, times follow joules and not cycles."""
    plain = cases.random_plain(tp, "cuda")
    weights, problem = cases.layers(plain, tp), cases.MoeProblem(tp, count)
    data = cases.inputs(problem, "cuda", 2)
    space, out = make_workspace(weights[0], count), torch.empty_like(data[0][0])
    found: dict[str, Sequence[cases.Call]] = {"ours": [partial(fused_moe, *one, weights[i], out=out, workspace=space) for i, one in enumerate(data)]}
    found |= {name: [partial(layer, *one) for one in data] for name, layer in peers_of(plain, ("humming-grouped", "tk")).items()}
    for name, calls in found.items():
        about: Row = {"part": "clocks", "tp": tp, "M": count, "impl": name}
        try:
            graph = capture(calls)
            with subprocess.Popen(SMI, stdout=subprocess.PIPE, text=True) as smi:
                try:
                    begin, replays = time.monotonic(), 0
                    while time.monotonic() - begin < seconds:
                        for _ in range(8):
                            graph.replay()
                        torch.cuda.synchronize()
                        replays += 8
                    taken = time.monotonic() - begin
                finally:
                    smi.terminate()  # it would go on by itself
                said = (smi.communicate()[0] or "").strip().splitlines()
            yield {**about, "us": taken * 1e6 / replays / len(calls), "smi": said[len(said) // 2 :][:4]}
        except Exception as caught:  # without nvidia-smi there is still a time of the others
            yield {**about, "failed": told(caught)}


def first_calls(tp: int, tokens: Sequence[int]) -> Iterator[Row]:
    """Seconds until every size has run once in this process, and the slowest of them; the cache is TRITON_CACHE_DIR's."""
    plain = cases.random_plain(tp, "cuda")
    weights = cases.layers(plain, tp)[0]
    spent = []
    live = torch.tensor([1], dtype=torch.int32, device="cuda")
    for count in sorted(tokens, reverse=True):
        ((x, logits),) = cases.inputs(cases.MoeProblem(tp, count), "cuda", 1)
        begin = time.monotonic()
        fused_moe(x, logits, weights, num_live=live)
        torch.cuda.synchronize()
        spent.append(time.monotonic() - begin)
    yield {"part": "first calls", "tp": tp, "sizes": len(spent), "seconds": sum(spent), "slowest": max(spent)}


def cold_rows(tp: int, folder: str) -> Iterator[Row]:
    """A start with an empty cache, as a server without `warming` has it, and one behind it; kernels that the second compiles are misses of the key."""
    inter = MODEL.intermediate // tp
    for way in ("launches alone", "warmed ahead"):
        cache = os.path.join(folder, way.replace(" ", "-"))  # noqa: PTH118 - a string for the environment
        env = {**os.environ, "TRITON_CACHE_DIR": cache}
        about: Row = {"part": "cold", "tp": tp, "way": way}
        ahead = 0.0
        if way == "warmed ahead":
            begin = time.monotonic()
            argv = [sys.executable, "-m", "tunefork.kernels.warming", "sm90", "--intermediate", str(inter), "--tokens", *map(str, CAPTURES)]
            about["warming"] = subprocess.run(argv, env=env, capture_output=True, text=True, check=False).stdout.strip()
            ahead = time.monotonic() - begin
        before = _cubins(cache)
        done = subprocess.run([sys.executable, "-m", "studies.moe_peers", "first", "--tp", str(tp)], env=env, capture_output=True, text=True, check=False)
        last = (done.stdout.strip().splitlines() or [done.stderr[-200:]])[-1]
        yield {**about, "ahead_s": ahead, "cubins before": before, "cubins after": _cubins(cache), "first calls": last}


def _cubins(folder: str) -> int:
    return sum(name.endswith(".cubin") for _, _, names in os.walk(folder) for name in names)
