"""Servers one after another on one GPU, in a given order of arms, each under the same loads: a row per load, written as it comes.

    python -m studies.fullsize.run --model l36 --sequence A,B,B,A --gpu 0 --out rows.jsonl --load 4:40,16:64,4:8:8192 --repeats 2

A server start is what is compared: on a GPU A B B A gives two pairs, one in either order. The first repeat of a start holds what is compiled at first
use: it is one wave of requests, and tables drop it. The GPU is this run's alone until its last server has ended, and no `bench` measures the whole
machine meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from studies.fullsize import arms, ready, startup, warps
from tunefork.base.errors import ServeError, TuneforkError
from tunefork.base.layout import user_cache
from tunefork.bench.load import client_builtin as builtin
from tunefork.bench.machine import devices
from tunefork.bench.machine.gpu_processes import on_devices
from tunefork.bench.machine.host import ask, host
from tunefork.bench.records import schema
from tunefork.bench.records.schema import utc_now
from tunefork.bench.server.server import Server
from tunefork.bench.server.target import Target

KEPT = ("duration", "completed", "failed", "output_throughput", "total_token_throughput", "median_ttft_ms", "median_tpot_ms", "mean_tpot_ms",
        "p99_tpot_ms", "median_itl_ms", "median_e2el_ms")  # fmt: skip


def target(server: Server, model: Path) -> Target:
    """A started server as the builtin client takes it."""
    command = server.command
    said = schema.ServerRecord(own=True, base_url=command.base_url, model=str(model), served_name=command.served_name, target="cuda",
                         version=metadata.version("vllm"), gpus=1, argv=command.argv, env=command.env,
                         seconds_to_ready=server.seconds_to_ready, log=str(server.log))  # fmt: skip
    return Target(said, (), {}, Path(sys.executable), command.env, command.cwd, server.log.stem, server.check)


def prepare(name: str, words: argparse.Namespace, place: int, folder: Path) -> Server:
    """An arm's server, not started."""
    cwd = folder / f"cwd-gpu{words.gpu}-{place}"
    cwd.mkdir(parents=True, exist_ok=True)
    known = [os.environ.get("PYTHONPATH", "")]
    if warps.VARIABLE in arms.ARMS[name].env:
        known.append(str(warps.installed(folder)))
    command = arms.command(name, words.model, python=sys.executable, gpu=words.gpu, port=8100 + 100 * words.gpu + place, cwd=cwd,
                           pythonpath=os.pathsep.join(filter(None, known)), utilization=words.utilization, kv_gib=words.kv_gib,
                           attention=words.attention)  # fmt: skip
    return Server(command, grace_s=5.0, log=folder / f"gpu{words.gpu}-{place}-{name}.log", ready_timeout_s=words.ready_timeout)


def load(one: Target, conc: int, prompts: int, isl: int, seed: int) -> dict[str, Any]:
    """One measured load of ``isl`` tokens in, 128 out."""
    scenario = schema.Scenario(isl=isl, osl=128, conc=conc, num_prompts=prompts, warmups=0, range_ratio=1.0, seed=seed)
    requests, seconds, _ = asyncio.run(builtin.load(one, scenario))
    answer = builtin.answer(requests, scenario, seconds)
    tpots = [1000 * (request.e2el_s - request.ttft_s) / (request.output - 1) for request in requests if request.output > 1]
    return {**{key: answer[key] for key in KEPT}, "short": sum(request.output != 128 for request in requests),
            "tpots_ms": [round(value, 4) for value in tpots], "errors": sorted({one for one in answer["errors"] if one})[:3]}


def serve(name: str, words: argparse.Namespace, place: int, sink: Any, began: float) -> None:
    """Start one server, put all loads on it, stop it, also where it did not become ready; what fails is a row, too."""
    if time.monotonic() - began > words.seconds:
        raise ServeError(f"no time for a start of arm {name}", "--seconds")
    foreign = on_devices((str(words.gpu),))
    with prepare(name, words, place, words.out.parent / "logs") as server:
        note(sink, kind="start", arm=name, why=arms.ARMS[name].why, gpu=words.gpu, place=place, foreign=foreign,
             seconds_to_ready=round(server.seconds_to_ready, 2), at=round(time.monotonic() - began, 1), used=memory(words.gpu),
             **startup.phases(server.log.read_text(errors="replace")),
             argv=server.command.argv[1:], env={key: value for key, value in server.command.env.items() if key != "PYTHONPATH"})  # fmt: skip
        one = target(server, words.model)
        for repeat in range(words.repeats):
            for conc, whole, isl in words.load:
                prompts = whole if repeat or words.repeats == 1 else min(conc, whole)
                if time.monotonic() - began > words.seconds:
                    raise ServeError(f"no time for repeat {repeat}, conc {conc} of arm {name}", "--seconds")
                note(sink, kind="load", arm=name, gpu=words.gpu, place=place, repeat=repeat, conc=conc, prompts=prompts, isl=isl,
                     at=round(time.monotonic() - began, 1), **load(one, conc, prompts, isl, 1000 * repeat + conc))  # fmt: skip


def loads(text: str) -> list[tuple[int, int, int]]:
    """``4:16,16:32:8192`` as (concurrency, prompts, tokens in); 1024 where nothing is said."""
    asked = [[int(word) for word in one.split(":")] for one in text.split(",")]
    return [(conc, prompts, isl[0] if isl else 1024) for conc, prompts, *isl in asked]


def main() -> None:
    """Read the command line, run, and leave rows whatever happens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--sequence", required=True, help=f"arms in the order of their starts, of {', '.join(arms.ARMS)}")
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--place", type=int, default=0, help="number of the first start, where a session goes on")
    parser.add_argument("--out", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--load", type=loads, default="4:16,16:32,32:64", help="concurrency:prompts[:tokens in], comma-separated")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--utilization", type=float, default=0.85)
    parser.add_argument("--kv-gib", type=float, default=8.0)
    parser.add_argument("--attention", default=arms.ATTENTION, help="an attention backend, or auto: vLLM's choice")
    parser.add_argument("--ready-timeout", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=3600, help="no start and no load begins later than this")
    words = parser.parse_args()
    with devices.beside(user_cache(), (str(words.gpu),), say):
        run(words)


def run(words: argparse.Namespace) -> None:
    """All servers of the sequence, on a GPU that nobody else has."""
    began = time.monotonic()
    with words.out.open("a") as sink:
        note(sink, kind="host", at=utc_now().isoformat(), host=host().model_dump(), gpu=words.gpu, commit=os.environ.get("TUNEFORK_COMMIT", ""),
             versions=ready.versions())  # fmt: skip
        for place, name in enumerate(words.sequence.split(","), words.place):
            try:
                serve(name, words, place, sink, began)
            except TuneforkError as error:
                note(sink, kind="failure", arm=name, gpu=words.gpu, place=place, at=round(time.monotonic() - began, 1), message=error.message)


def say(line: str) -> None:
    """To the terminal, beside the rows."""
    print(line, file=sys.stderr, flush=True)


def note(sink: Any, **row: Any) -> None:
    """Write a row, on the disk at once, and say the short of it."""
    sink.write(json.dumps(row) + "\n")
    sink.flush()
    shown = {key: row.get(key) for key in ("kind", "arm", "gpu", "repeat", "isl", "conc", "median_tpot_ms", "median_ttft_ms", "output_throughput",
                                           "seconds_to_ready", "model", "failed", "short", "at", "used", "message") if row.get(key) is not None}  # fmt: skip
    print(json.dumps(shown), flush=True)


def memory(gpu: int) -> str:
    """Memory that all processes hold on the GPU; empty where nobody can tell."""
    return ask("nvidia-smi", "-i", str(gpu), "--query-gpu=memory.used", "--format=csv,noheader").strip()


if __name__ == "__main__":
    main()
