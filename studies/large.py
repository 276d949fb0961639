"""What large stores, series and sets of variants take, beside another commit: ``python -m studies.large OTHER [CASE]... [--rounds N] [--json]``.

OTHER is a worktree of this repository at another commit. Both run their own command, Python's start included, in turn, in a world of their own that
each made itself: the same pin, patches and records. Printed are medians, their spread, and ratios to OTHER's of the same run.

    lint       `patch lint` of 500 one-file patches on the vLLM tree
    status     `status` of 64 variants of vLLM beside each other
    query      `bench query` over 20,000 records: first (no index beside them yet), and again
    requests   the same of every one of their requests (64 each, 8 tokens)
    report     `bench report` over them, first and again; its file's size

Peaks are the resident memory of the largest process (ru_maxrss); CPU is of the command and what it started and waited for.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from studies.series.speed import UPSTREAM, generate
from tunefork.base.layout import Layout

PATCHES, VARIANTS, RECORDS, REQUESTS, ROUNDS = 500, 64, 20_000, 64, 3
PIN = """[upstreams.vllm]
url = "https://github.com/vllm-project/vllm.git"
tag = "v{version}"
version = "{version}"
commit = "{commit}"
submodules = false
[upstreams.vllm.sdist]
name = "vllm"
version = "{version}"
sha256 = "{sha256}"
commit = "{root}"
added = {added}
"""


@dataclass(frozen=True)
class Cost:
    """One run of a command. seconds: wall.  cpu: user and system seconds.  peak: MB of the largest process."""

    seconds: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Side:
    """A checkout of this project's code, and the world in which its commands run."""

    code: Path
    world: Layout

    def run(self, *words: str, most: int = 0) -> Cost:
        """A command of this side's. Its output is shown where it ends with more than ``most``."""
        source = self.code / "src" if (self.code / "src").is_dir() else self.code
        environment = {**os.environ, "PYTHONPATH": str(source), "TUNEFORK_ROOT": str(self.world.root), "TUNEFORK_CACHE": str(self.world.cache)}
        with tempfile.TemporaryFile() as said:
            begin = time.perf_counter()
            program = "import sys; from tunefork.cli.main import main; sys.exit(main(sys.argv[1:]))"
            child = subprocess.Popen([sys.executable, "-c", program, *words], cwd=self.world.root, env=environment, stdout=said, stderr=said)
            _, status, used = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - begin
            child.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            if not 0 <= child.returncode <= most:
                raise RuntimeError(f"{self.code}: {' '.join(words)}: exit {child.returncode}\n{said.read()[-2000:].decode()}")
        return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def world(folder: Path, cache: Path) -> Layout:
    """A root with the pin of vLLM alone, as both commits read it, and a cache with its archive."""
    from tunefork.patchset.sources import pins

    pin = pins.pin_of(Layout.here(), UPSTREAM)
    assert pin.sdist is not None
    made = Layout(folder / "root", folder / "cache")
    made.series_dir(UPSTREAM).mkdir(parents=True)
    (made.cache / "downloads").mkdir(parents=True)
    shutil.copytree(cache / "downloads" / pin.sdist.sha256, made.cache / "downloads" / pin.sdist.sha256)
    commit = pin.commit.ljust(40, "0")  # OTHER may want all digits; nothing is fetched by them
    made.pins.write_text(PIN.format(version=pin.version, commit=commit, sha256=pin.sdist.sha256, root=pin.sdist.commit, added=json.dumps(pin.sdist.added)))
    return made


def patched(sides: list[Side], count: int) -> None:
    """The same one-file patches, applied by each side."""
    for side in sides:
        side.run("apply", UPSTREAM, "--variant", "base")
    generate(sides[0].world, count)
    for side in sides:
        for path in sides[0].world.series_dir(UPSTREAM).iterdir():
            if side is not sides[0] and path.name != "series.lock":
                shutil.copy(path, side.world.series_dir(UPSTREAM))
    for side in sides:
        side.run("patch", "lock", UPSTREAM)
        side.run("apply", UPSTREAM)


def spread_out(sides: list[Side], count: int) -> None:
    """Variants beside each other: each leaves out another patch."""
    for side in sides:
        for number in range(count):
            side.run("apply", UPSTREAM, "--variant", f"without:p{number:03}", "--beside")


def recorded(store: Path, count: int, requests: int, *, seed: int = 15) -> None:
    """A store as a campaign on one node leaves it: 8 variants, 5 loads, 3 profiles, one in 20 failed. In the oldest format that both read."""
    draw = random.Random(seed)
    samples = {"ttfts": [0.1 + draw.random() for _ in range(requests)], "itls": [[draw.random() / 50 for _ in range(7)] for _ in range(requests)],
               "input_lens": [1024] * requests, "output_lens": [8] * requests}  # fmt: skip
    client = gzip.compress(json.dumps(samples).encode(), mtime=0)
    names = ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms")
    for number in range(count):
        variant, conc = f"without:p{number % 8:03}", 4 * 2 ** (number % 5)
        passed = number % 20 != 19
        name = f"20261101T{number:06}Z-smoke-{number:08x}"
        metrics = {f"{kind}_{each}": draw.random() * 100 for each in names for kind in ("mean", "median", "p99", "std")}
        record = {
            "format": 1, "id": name, "created": f"2026-11-{1 + number % 28:02}T00:00:00Z", "trial": f"trial-{number // 5}", "batch": f"batch-{number // 40}",
            "labels": {}, "profile": ("smoke", "stage1", "stage2")[number // 5 % 3], "status": "passed" if passed else "failed",
            "problems": [] if passed else [{"kind": "failed", "message": f"{number % 7 + 1} of {requests} requests failed"}],
            "scenario": {"isl": 1024, "osl": 8, "conc": conc, "num_prompts": requests, "warmups": 4, "range_ratio": 1.0, "seed": 0},
            "trees": [{"upstream": "vllm", "variant": variant, "source": "sdist", "base": "a" * 40, "commit": f"{number % 8:040x}", "tree": "c" * 40,
                       "patches": [f"p{each:03}" for each in range(12) if each != number % 8]}],
            "project": "d" * 40, "versions": {"vllm": "0.33.0", "torch": "2.11.0", "triton": "3.7.1"},
            "host": {"name": "node", "system": "Linux", "cpu": "x", "cores": 128, "memory_gib": 512.0, "gpus": ["GPU"] * 8},
            "server": {"own": True, "base_url": "http://127.0.0.1:8000", "model": "openai/gpt-oss-120b", "served_name": "gpt-oss", "target": "gfx950",
                       "version": "0.33.0", "gpus": 8, "argv": ["vllm", "serve", "openai/gpt-oss-120b", "--tensor-parallel-size", "8"],
                       "env": {"VLLM_USE_V1": "1"}, "seconds_to_ready": 60.5, "log": None},
            "client": ["builtin", "--conc", str(conc)], "accuracy": None, "metrics": metrics,
            "score": {"tput_per_gpu": 100 + draw.random(), "median_e2el_ms": 900 + draw.random(), "interactivity": 50 + draw.random(), "divisor": 8,
                      "divisor_kind": "used", "baseline": None, "tput_ratio": None, "e2e_ratio": None, "interactivity_ratio": None} if passed else None,
            "timing": {"before_s": 0.1, "client_s": 30.0, "after_s": 0.1}, "telemetry": None,
        }  # fmt: skip
        folder = store / name
        folder.mkdir(parents=True)
        files = {"record.json": json.dumps(record, indent=1).encode() + b"\n", "client.json.gz": client}
        hashes = {each: hashlib.sha256(data).hexdigest() for each, data in files.items()}
        for each, data in {**files, "manifest.json": json.dumps({"format": 1, "files": hashes}).encode()}.items():
            (folder / each).write_bytes(data)


RECORDS_SQL = "SELECT variant, scenario_conc, count(*), avg(score_interactivity) FROM records GROUP BY 1, 2"
REQUESTS_SQL = "SELECT count(*), avg(ttft_ms), max(tpot_ms) FROM requests"


def forget(side: Side) -> None:
    """The store without its index, as a command finds it that is the first."""
    for path in (side.world.work / "records").glob(".index*"):
        path.unlink()


def asked(side: Side, sql: str) -> Iterator[tuple[str, Cost]]:
    forget(side)
    for when in ("first", "again"):
        yield when, side.run("bench", "query", "--sql", sql)


def reported(side: Side) -> Iterator[tuple[str, Cost]]:
    forget(side)
    for when in ("first", "again"):
        yield when, side.run("bench", "report", "--out", str(side.world.root / "report.html"))


CASES: dict[str, Callable[[Side], Iterator[tuple[str, Cost]]]] = {
    "lint": lambda side: iter([("", side.run("patch", "lint", UPSTREAM, "--json", most=1))]),
    "status": lambda side: iter([("", side.run("status", UPSTREAM))]),
    "query": lambda side: asked(side, RECORDS_SQL),
    "requests": lambda side: asked(side, REQUESTS_SQL),
    "report": reported,
}


def prepared(sides: list[Side], cases: list[str], *, patches: int = PATCHES, variants: int = VARIANTS, records: int = RECORDS) -> None:
    """Make in both worlds what the cases need."""
    if {"lint", "status"} & {*cases}:
        patched(sides, patches if "lint" in cases else variants)
    if {"query", "requests", "report"} & {*cases}:
        for side in sides:
            recorded(side.world.work / "records", records, REQUESTS)


def measure(sides: list[Side], cases: list[str], rounds: int, variants: int = VARIANTS) -> dict[str, dict[str, list[list[Cost]]]]:
    """{case: {when: per side the rounds}}, the sides in turn. status comes last: its 64 checkouts would be in the way of the others."""
    found: dict[str, dict[str, list[list[Cost]]]] = {}
    for case in sorted(cases, key=lambda each: each == "status"):
        if case == "status":
            spread_out(sides, variants)
        for _ in range(rounds):
            for number, side in enumerate(sides):
                for when, cost in CASES[case](side):
                    found.setdefault(case, {}).setdefault(when, [[] for _ in sides])[number].append(cost)
    return found


def table(found: dict[str, dict[str, list[list[Cost]]]], sizes: list[int]) -> str:
    """A Markdown table: here, there, and the ratio of the medians, of wall time, CPU time and peak."""
    lines = ["| case | wall s: here | there | ratio | CPU s: here | there | ratio | peak MB: here | there | ratio |", "|---" * 10 + "|"]
    for case, times in found.items():
        for when, (here, there) in times.items():
            cells = [f"{case} {when}".strip()]
            for name in ("seconds", "cpu", "peak"):
                values = [[getattr(one, name) for one in side] for side in (here, there)]
                digits = 0 if name == "peak" else 2
                cells += [f"{statistics.median(each):.{digits}f} ({min(each):.{digits}f}-{max(each):.{digits}f})" for each in values]
                cells.append(f"{statistics.median(values[0]) / statistics.median(values[1]):.2f}")
            lines.append("| " + " | ".join(cells) + " |")
    if sizes:
        lines.append(f"\nreport.html: {sizes[0] / 1e6:.2f} MB here, {sizes[1] / 1e6:.2f} MB there")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Print the table, or JSON."""
    words = [word for number, word in enumerate(argv) if not word.startswith("--") and (number == 0 or argv[number - 1] != "--rounds")]
    if not words or (unknown := {*words[1:]} - {*CASES}):
        print(f"python -m studies.large OTHER [{'|'.join(CASES)}]...{f': no case {min(unknown)}' if words else ''}", file=sys.stderr)
        return 2
    rounds = int(argv[argv.index("--rounds") + 1]) if "--rounds" in argv else ROUNDS
    here, cases = Layout.here(), words[1:] or list(CASES)
    here.work.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tunefork-large-", dir=here.work) as scratch:
        sides = [Side(code, world(Path(scratch) / name, here.cache)) for name, code in (("here", here.root), ("there", Path(words[0]).resolve()))]
        prepared(sides, cases)
        found = measure(sides, cases, rounds)
        files = [side.world.root / "report.html" for side in sides] if "report" in cases else []
        sizes = [path.stat().st_size for path in files]
    if "--json" in argv:
        print(json.dumps({case: {when: [[asdict(one) for one in side] for side in both] for when, both in times.items()} for case, times in found.items()}))
    else:
        print(table(found, sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
