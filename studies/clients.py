"""Clients of serving benchmarks against a server of known times: what each says of TTFT, TPOT and E2E, and what it costs.

    python3 -m studies.clients --conc 1,64,512 --tokenizer FOLDER
    python3 -m studies.clients --tokenizer FOLDER --inferencex InferenceX/utils/bench_serving/benchmark_serving.py

The server (tests/bench/load/truth_server.py) sends the first token TTFT after a request came and one more every TPOT, by one event loop that
says how late it was: a row whose lateness is beyond 3 % of TPOT says nothing of a client. All clients of a concurrency run one after another,
each on a server start of its own, in a drawn order; CPU seconds are of the client's processes and say how they compare in this run alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunefork.base.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
SERVER = ROOT / "tests" / "bench" / "load" / "truth_server.py"
TTFT_MS, TPOT_MS, ISL, OSL = 100.0, 50.0, 64, 32
OURS = """
import json, sys
from pathlib import Path
from tunefork.bench.load import client_builtin
from tunefork.bench.records.schema import Scenario, ServerRecord
from tunefork.bench.server.target import Target
url, conc, prompts, isl, osl, out = sys.argv[1:]
server = ServerRecord(own=True, base_url=url, model="fake", served_name="fake", target="unknown", version="unknown", gpus=1, argv=(), env={},
                      seconds_to_ready=0.0, log=None)
one = Scenario(isl=int(isl), osl=int(osl), conc=int(conc), num_prompts=int(prompts), warmups=0, range_ratio=1.0, seed=1)
_, answer, problems = client_builtin.measure(Target(server, (), {}, Path(sys.executable), {}, Path(out), "t", lambda: None), one, Path(out))
Path(out, "answer.json").write_text(json.dumps(answer))
"""


@dataclass(frozen=True)
class Said:
    """What a client said of one load. ttft, tpot, e2e: medians in ms.  cpu_s: of all its processes.  late_ms: the server's own worst."""

    client: str
    conc: int
    ttft: float
    tpot: float
    e2e: float
    cpu_s: float
    seconds: float
    late_ms: float


@dataclass(frozen=True)
class Load:
    """One load on one server start."""

    url: str
    conc: int
    prompts: int
    tokenizer: str
    out: Path


def ours(_program: str, one: Load) -> list[str]:
    return [sys.executable, "-c", OURS, one.url, str(one.conc), str(one.prompts), str(ISL), str(OSL), str(one.out)]


def like_vllm(start: list[str], one: Load, prompts: str) -> list[str]:
    return [*start, "--backend", "vllm", "--base-url", one.url, "--endpoint", "/v1/completions", "--model", "fake", "--tokenizer", one.tokenizer,
            "--dataset-name", "random", "--random-input-len", str(ISL), "--random-output-len", str(OSL), "--random-range-ratio", prompts,
            "--num-prompts", str(one.prompts), "--max-concurrency", str(one.conc), "--request-rate", "inf", "--ignore-eos", "--disable-tqdm",
            "--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result", "--result-dir", str(one.out), "--result-filename", "answer.json"]


def vllm(_program: str, one: Load) -> list[str]:
    return like_vllm([sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve"], one, "0.0")


def inferencex(program: str, one: Load) -> list[str]:
    return like_vllm([sys.executable, program], one, "1.0")


def of_vllm(out: Path) -> tuple[float, float, float]:
    said = json.loads((out / "answer.json").read_text())
    return said["median_ttft_ms"], said["median_tpot_ms"], said["median_e2el_ms"]


Command = Callable[[str, Load], list[str]]
Reader = Callable[[Path], tuple[float, float, float]]
CLIENTS: dict[str, tuple[Command, Reader]] = {
    "ours": (ours, of_vllm), "vllm": (vllm, of_vllm), "inferencex": (inferencex, of_vllm),
}


def asked(url: str) -> dict[str, Any]:
    """What the server says of itself."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/late", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def measured(client: str, program: str, conc: int, tokenizer: str) -> Said:
    """Run one client on a fresh server. CalledProcessError with its output where it fails."""
    port = free_port("127.0.0.1")
    url = f"http://127.0.0.1:{port}"
    command, read = CLIENTS[client]
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen([sys.executable, str(SERVER), str(port), str(TTFT_MS), str(TPOT_MS)]) as server:
        try:
            for _ in range(200):
                try:
                    asked(url)
                    break
                except OSError:
                    time.sleep(0.05)
            one = Load(url, conc, max(10, 4 * conc), tokenizer, Path(folder))
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            # One hand on offline: the tokenizer is on this disk.
            subprocess.run(command(program, one), check=True, capture_output=True, text=True, timeout=900, cwd=folder,
                           env={**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"})
            after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
            return Said(client, conc, *read(Path(folder)), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds,
                        asked(url)["late_ms"])
        finally:
            server.kill()


def table(found: list[Said]) -> list[str]:
    """Markdown: errors against the truth, and CPU seconds over ours at the same concurrency; the median and range of repeats."""
    truth = {"ttft": TTFT_MS, "tpot": TPOT_MS, "e2e": TTFT_MS + TPOT_MS * (OSL - 1)}
    lines = ["| CONC | client | TTFT | TPOT | E2E | CPU s | of ours | server late |", "|---|---|---|---|---|---|---|---|"]
    for conc in sorted({one.conc for one in found}):
        base = [one.cpu_s for one in found if one.conc == conc and one.client == "ours"]
        for client in CLIENTS:
            own = [one for one in found if (one.conc, one.client) == (conc, client)]
            if own:
                errors = [f"{100 * (statistics.median(getattr(one, name) for one in own) / value - 1):+.1f} %" for name, value in truth.items()]
                cpu = statistics.median(one.cpu_s for one in own)
                ratio = f"{cpu / statistics.median(base):.2f}x" if base else "-"
                late = max(one.late_ms for one in own)
                lines.append(f"| {conc} | {client} | {' | '.join(errors)} | {cpu:.1f} | {ratio} | {late:.1f} ms |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conc", default="1,8,64,256,512")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tokenizer", required=True, help="a folder with a tokenizer, such as the tiny model's")
    parser.add_argument("--without", default="", help="clients to leave out, such as vllm")
    parser.add_argument("--inferencex", metavar="PATH", help="benchmark_serving.py of a checkout of InferenceX; left out without it")
    parser.add_argument("--json", type=Path, help="also write what was said")
    options = parser.parse_args()
    programs = {"ours": "", "vllm": "", **({"inferencex": options.inferencex} if options.inferencex else {})}
    programs = {name: str(Path(path).resolve()) if path else "" for name, path in programs.items() if name not in options.without.split(",")}
    found: list[Said] = []
    for conc in map(int, options.conc.split(",")):
        for client in random.sample(list(programs), len(programs)) * options.repeats:
            try:
                found.append(measured(client, programs[client], conc, options.tokenizer))
                print(found[-1], flush=True)
            except (subprocess.SubprocessError, OSError, KeyError, ValueError, StopIteration) as error:
                print(f"{client} at CONC {conc} failed: {error}\n{str(getattr(error, 'stderr', ''))[-600:]}", flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(one) for one in found], indent=1))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
