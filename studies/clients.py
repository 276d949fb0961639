"""Clients of serving benchmarks against a server of known times: what each says of TTFT, TPOT and E2E, and what it costs.

    python3 -m studies.clients --conc 1,64,512 --tokenizer FOLDER --add said.json
    python3 -m studies.clients --tokenizer FOLDER --inferencex PATH/benchmark_serving.py --guidellm VENV/bin/guidellm --aiperf VENV/bin/aiperf --add said.json
    python3 -m studies.clients --table said.json

The server (tests/bench/load/truth_server.py) is asked for a first token after TTFT and one more every TPOT. What it did is the truth: medians over
the requests, from the kernel's arrival of a request to the instants before its sends. Clients run one after another in a drawn order, each on a
server start of its own. CPU seconds are of all the client's processes, imports included. Loop lag: how late an event loop of the client woke a sleep
of 20 ms, the 99th percentile of its worst process, by one sampler that is put into every client (sitecustomize). --add: runs are added to a file,
so that a table can be made in slices.
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
TTFT_MS, TPOT_MS, ISL, OSL = 100.0, 50.0, 64, 16
OFFLINE = {"HF_HUB_OFFLINE": "1"}
"""The tokenizer is on this disk. aiperf takes no folder when told so (findings/aiperf_offline_refuses_a_folder.sh)."""
WAVES, LEAST = 4, 8
"""Requests are WAVES * CONC, at least LEAST."""
SAMPLER = '''"""A sampler of the loop's lag in every event loop that asyncio runs here."""
import asyncio
import json
import os

run = asyncio.Runner.run


async def sampled(work):
    loop, lags = asyncio.get_running_loop(), []

    async def sample():
        while True:
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            lags.append(loop.time() - due)

    task = loop.create_task(sample())
    try:
        return await work
    finally:
        task.cancel()
        if len(lags) > 20:
            with open(f"{os.environ['LAGS']}/{os.getpid()}-{id(loop)}.json", "w") as file:
                json.dump(sorted(lags)[int(0.99 * len(lags))] * 1000, file)


def patched(self, coro, **how):
    return run(self, sampled(coro), **how)


asyncio.Runner.run = patched
'''
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
    """What a client said of one load, in ms: medians of TTFT, TPOT and E2E, and what the server did.  cpu_s: of all its processes.

    lag_ms: of its worst event loop, None where it has none that asyncio runs.  late_ms: the server's own worst.
    """

    client: str
    conc: int
    ttft: float
    tpot: float
    e2e: float
    true_ttft: float
    true_tpot: float
    true_e2e: float
    cpu_s: float
    seconds: float
    lag_ms: float | None
    late_ms: float

    def error(self, name: str) -> float:
        """In percent of what the server did."""
        said, true = float(getattr(self, name)), float(getattr(self, f"true_{name}"))
        return 100 * (said / true - 1)


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


def guidellm(program: str, one: Load) -> list[str]:
    return [program, "run", "--disable-console", "--backend",
            f"kind=openai_http,target={one.url},model=fake,request_format=/v1/completions,validate_backend=false",
            "--profile", f"kind=concurrent,streams={one.conc}", "--constraint", f"kind=max_requests,count={one.prompts}",
            "--data", f"kind=synthetic_text,prompt_tokens={ISL},output_tokens={OSL}", "--tokenizer", f"kind=hf_auto,model={one.tokenizer}",
            "--output", f"kind=json,path={one.out}/answer.json"]


def of_guidellm(out: Path) -> tuple[float, float, float]:
    said = json.loads((out / "answer.json").read_text())["benchmarks"][0]["metrics"]
    return (said["time_to_first_token_ms"]["successful"]["median"], said["inter_token_latency_ms"]["successful"]["median"],
            1000 * said["request_latency"]["successful"]["median"])


def aiperf(program: str, one: Load) -> list[str]:
    return [program, "profile", "--model", "fake", "--url", one.url, "--endpoint-type", "completions", "--streaming", "--tokenizer", one.tokenizer,
            "--concurrency", str(one.conc), "--request-count", str(one.prompts), "--synthetic-input-tokens-mean", str(ISL),
            "--output-tokens-mean", str(OSL), "--artifact-dir", str(one.out), "--ui", "simple", "--use-server-token-count"]


def of_aiperf(out: Path) -> tuple[float, float, float]:
    said = json.loads((out / "profile_export_aiperf.json").read_text())
    return said["time_to_first_token"]["p50"], said["inter_token_latency"]["p50"], said["request_latency"]["p50"]


Command = Callable[[str, Load], list[str]]
Reader = Callable[[Path], tuple[float, float, float]]
CLIENTS: dict[str, tuple[Command, Reader]] = {
    "ours": (ours, of_vllm), "vllm": (vllm, of_vllm), "inferencex": (inferencex, of_vllm), "guidellm": (guidellm, of_guidellm),
    "aiperf": (aiperf, of_aiperf),
}


def asked(url: str) -> dict[str, Any]:
    """What the server says of itself."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/truth", timeout=5) as answer:
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
            one = Load(url, conc, max(LEAST, WAVES * conc), tokenizer, Path(folder))
            (Path(folder) / "lags").mkdir()
            (Path(folder) / "sitecustomize.py").write_text(SAMPLER)
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            subprocess.run(command(program, one), check=True, capture_output=True, text=True, timeout=900, cwd=folder,
                           env={**os.environ, **({} if client == "aiperf" else OFFLINE), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
                                "LAGS": f"{folder}/lags", "PYTHONPATH": folder})
            after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
            truth = asked(url)
            lags = [float(path.read_text()) for path in Path(folder, "lags").iterdir()]
            return Said(client, conc, *read(Path(folder)), truth["ttft_ms"], truth["tpot_ms"], truth["e2e_ms"],
                        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, seconds, max(lags, default=None), truth["late_ms"])
        finally:
            server.kill()


def spread(values: list[float], form: str) -> str:
    """The median, and where it was measured more than once the least and the greatest."""
    shown = form.format(statistics.median(values))
    return shown if len(values) == 1 else f"{shown} ({form.format(min(values))} to {form.format(max(values))})"


def table(found: list[Said]) -> list[str]:
    """Markdown: errors in percent of what the server did, CPU seconds, also over ours at the same concurrency, and the loop's lag."""
    lines = ["| CONC | client | TTFT % | TPOT % | E2E % | CPU s | of ours | loop lag ms | server late ms |", "|---|---|---|---|---|---|---|---|---|"]
    for conc in sorted({one.conc for one in found}):
        base = [one.cpu_s for one in found if one.conc == conc and one.client == "ours"]
        for client in CLIENTS:
            own = [one for one in found if (one.conc, one.client) == (conc, client)]
            if own:
                errors = [spread([one.error(name) for one in own], "{:+.1f}") for name in ("ttft", "tpot", "e2e")]
                cpu = [one.cpu_s for one in own]
                ratio = f"{statistics.median(cpu) / statistics.median(base):.1f}x" if base else "-"
                lags = [one.lag_ms for one in own if one.lag_ms is not None]
                lines.append(f"| {conc} | {client} | {' | '.join(errors)} | {spread(cpu, '{:.1f}')} | {ratio} | {spread(lags, '{:.0f}') if lags else '-'} "
                             f"| {spread([one.late_ms for one in own], '{:.0f}')} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conc", default="1,4,16,64,128,256,512")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--tokenizer", help="a folder with a tokenizer, such as the tiny model's")
    parser.add_argument("--without", default="", help="clients to leave out, such as vllm")
    parser.add_argument("--inferencex", metavar="PATH", help="benchmark_serving.py of a checkout of InferenceX; left out without it")
    parser.add_argument("--guidellm", metavar="PATH", help="guidellm's command; left out without it")
    parser.add_argument("--aiperf", metavar="PATH", help="aiperf's command; left out without it")
    parser.add_argument("--add", type=Path, metavar="FILE", help="add what was said to this JSON file")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of such a file, and run nothing")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table([Said(**one) for one in json.loads(options.table.read_text())])))
        return
    if not options.tokenizer:
        parser.error("--tokenizer is needed, or --table")
    given = {"ours": "", "vllm": "", "inferencex": options.inferencex, "guidellm": options.guidellm, "aiperf": options.aiperf}
    programs = {name: str(Path(path).absolute()) if path else "" for name, path in given.items()
                if path is not None and name not in options.without.split(",")}
    found = [Said(**one) for one in json.loads(options.add.read_text())] if options.add and options.add.exists() else []
    for conc in map(int, options.conc.split(",")):
        for client in random.sample(list(programs), len(programs)) * options.repeats:
            try:
                found.append(measured(client, programs[client], conc, options.tokenizer))
                print(found[-1], flush=True)
            except (subprocess.SubprocessError, OSError, KeyError, ValueError, StopIteration) as error:
                tails = [str(getattr(error, name, ""))[-600:] for name in ("stdout", "stderr")]
                print(f"{client} at CONC {conc} failed: {error}", *tails, sep="\n", flush=True)
            if options.add:
                options.add.write_text(json.dumps([asdict(one) for one in found], indent=1))
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
