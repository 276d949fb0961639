"""The full-size measurement with a stand-in for vLLM: what it starts, in which order, what its rows say, and the ratios made of them."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from studies.fullsize import arms, launches, layer, run, table, warps
from studies.fullsize.model import VOCABULARY, config
from studies.fullsize.startup import phases
from studies.fullsize.table import disturbed, judged, pairs, read, starts, tables
from tunefork.base.process import quiet
from tunefork.bench.machine import devices

ROOT = Path(__file__).resolve().parents[2]
VLLM = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
words = sys.argv
NAME, PORT = words[words.index("--served-model-name") + 1], int(words[words.index("--port") + 1])
OURS = "moe_a16w4" in os.environ["TUNEFORK_OVERRIDES"]
if "capture_plan" in os.environ["TUNEFORK_OVERRIDES"] and not OURS:
    sys.exit("no such plan")
if any(word.startswith("-cc.cudagraph_capture_sizes") for word in words):  # arm G is never ready
    open("../../stuck", "w").write(str(os.getpid()))
    time.sleep(300)
if os.path.exists("../../stuck") and os.path.exists("/proc/" + open("../../stuck").read()):
    sys.exit("the server before this one lives")
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": NAME}]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert len(asked["prompt"]) == 1024 and asked["ignore_eos"]
        self.send_response(200); self.end_headers()
        for part in range(3):  # of 128 tokens, so TPOT is two pauses over 127
            time.sleep(0.05 if OURS else 0.1)
            self.wfile.write(b'data: {"choices": [{"text": "x"}]}\\n\\n')
        usage = {"choices": [], "usage": {"completion_tokens": asked["max_tokens"]}}
        self.wfile.write(b"data: " + json.dumps(usage).encode() + b"\\n\\ndata: [DONE]\\n\\n")
    def log_message(self, *args): pass
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever(poll_interval=0.05)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a vllm that serves at a pace, the faster under moe_a16w4, and that cannot start under capture_plan alone."""
    folder = tmp_path / "site"
    main = folder / "vllm" / "entrypoints" / "cli"
    main.mkdir(parents=True)
    (main / "main.py").write_text(VLLM)
    for name, version in (("vllm", "0.29.0"), ("torch", "2"), ("triton", "3"), ("transformers", "5")):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def started(site: Path, folder: Path, sequence: str, load: str, repeats: str, timeout: str, gpu: str = "37") -> subprocess.Popen[str]:
    """Servers in this order on a GPU that is not there; the rows will be in ``folder/rows.jsonl``."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "studies.fullsize.run", "--model", str(folder), "--sequence", sequence, "--gpu", gpu, "--out",
         str(folder / "rows.jsonl"), "--load", load, "--repeats", repeats, "--ready-timeout", timeout],
        env={**os.environ, "TUNEFORK_CACHE": os.environ.get("TUNEFORK_CACHE", str(folder / "cache")), "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def measured(site: Path, folder: Path, sequence: str, load: str, repeats: str, timeout: str, gpu: str = "37") -> Path:
    """The rows of servers in this order, once the last one has ended."""
    child = started(site, folder, sequence, load, repeats, timeout, gpu)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said[-2000:]
    return folder / "rows.jsonl"


@pytest.mark.slow
def test_starts_follow_the_sequence_and_a_failed_one_is_a_row(site: Path, tmp_path: Path) -> None:
    out = measured(site, tmp_path, "A,B,C", "2:2", "2", "20")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["kind"], row.get("arm")) for row in rows] == [
        ("host", None), ("start", "A"), ("load", "A"), ("load", "A"), ("start", "B"), ("load", "B"), ("load", "B"), ("failure", "C")]  # fmt: skip
    assert "no such plan" in rows[-1]["message"]
    assert rows[4]["env"]["TUNEFORK_OVERRIDES"] == "random_mxfp4,moe_a16w4" and rows[4]["env"]["CUDA_VISIBLE_DEVICES"] == "37"
    rows = read([out])
    loads = [row for row in rows if row["kind"] == "load"]
    assert all(row["completed"] == 2 and not row["failed"] and not row["short"] and len(row["tpots_ms"]) == 2 for row in loads)
    shown = judged(rows, "median_tpot_ms", "B", "A")[2]
    assert shown.lo is None and shown.ratio is not None and 0.4 < shown.ratio < 0.7
    assert "failed: arm C on GPU 37" in tables(rows) and "(one pair)" in tables(rows)


@pytest.mark.slow
def test_a_run_has_its_gpu_alone(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another measurement has GPU 37 no server starts; one on GPU 38 does not wait."""
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))
    with devices.beside(tmp_path / "cache", ("37",), quiet):
        other = measured(site, tmp_path, "A", "1:1", "1", "20", gpu="38")
        assert [json.loads(line)["kind"] for line in other.read_text().splitlines()] == ["host", "start", "load"]
        (tmp_path / "waits").mkdir()
        child = started(site, tmp_path / "waits", "A", "1:1", "1", "20", gpu="37")
        assert child.stderr is not None and "waiting for another measurement on GPU 37 to end" in child.stderr.readline()
        assert not (tmp_path / "waits" / "rows.jsonl").exists()
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    assert '"kind": "load"' in (tmp_path / "waits" / "rows.jsonl").read_text()


@pytest.mark.slow
def test_a_server_that_is_not_ready_in_time_is_stopped_before_the_next_one_starts(site: Path, tmp_path: Path) -> None:
    out = measured(site, tmp_path, "G,A", "1:1", "1", "6")
    assert (tmp_path / "stuck").is_file()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["kind"], row.get("arm")) for row in rows] == [("host", None), ("failure", "G"), ("start", "A"), ("load", "A")]
    assert "did not answer within 6 s" in rows[1]["message"]


def load(arm: str, gpu: int, place: int, repeat: int, tpot: float, file: int = 0, **more: Any) -> dict[str, Any]:
    return {"kind": "load", "file": file, "arm": arm, "gpu": gpu, "place": place, "repeat": repeat, "conc": 4, "failed": 0, "short": 0, "median_tpot_ms": tpot,
            "output_throughput": 1000 / tpot, "median_ttft_ms": 50.0, **more}  # fmt: skip


def test_a_start_is_the_unit_and_its_first_repeat_is_dropped() -> None:
    """By hand: GPU 0's first A and B give ln(8 / 10), GPU 1's ln(9 / 12); the second A on GPU 0 and the B on GPU 2 have no partner."""
    rows = [load("A", 0, 0, 0, 99), load("A", 0, 0, 1, 10), load("B", 0, 1, 0, 99), *(load("B", 0, 1, n, t) for n, t in ((1, 7), (2, 8), (3, 9))),
            load("A", 0, 2, 1, 10.5), load("B", 1, 0, 1, 9), load("A", 1, 1, 1, 12), load("A", 1, 1, 2, 500, failed=1), load("A", 1, 1, 3, 500, short=2),
            load("B", 2, 0, 1, 1)]  # fmt: skip
    assert pairs(starts(rows, 4, "median_tpot_ms"), "B", "A") == [(10, 8), (12, 9)]
    found = judged(rows, "median_tpot_ms", "B", "A")[4]
    logs = [math.log(0.8), math.log(0.75)]
    mean, half = sum(logs) / 2, stats.t.isf(0.025, 1) * abs(logs[0] - logs[1]) / 2  # the standard error of two
    assert (found.ratio, found.lo, found.hi, found.pairs) == pytest.approx((math.exp(mean), math.exp(mean - half), math.exp(mean + half), 2), rel=1e-6)
    assert judged(rows, "median_tpot_ms", "C", "A")[4].ratio is None


def test_starts_pair_in_their_order_on_a_gpu() -> None:
    """A B B A: the second B, at place 2, goes with the second A, at place 3."""
    rows = [load(arm, 0, place, 1, tpot) for place, (arm, tpot) in enumerate((("A", 10), ("B", 8), ("B", 6), ("A", 12)))]
    assert pairs(starts(rows, 4, "median_tpot_ms"), "B", "A") == [(10, 8), (12, 6)]


def test_starts_of_two_sessions_are_compared_each_with_its_own_base(tmp_path: Path) -> None:
    """Both sessions' GPU 0, place 0: the second machine is twice as fast, and B is 0.8 of A on either."""
    for number, scale in enumerate((1.0, 0.5)):
        rows = [load("A", 0, 0, 1, 10 * scale), load("B", 0, 1, 1, 8 * scale)]
        (tmp_path / f"{number}.jsonl").write_text("".join(json.dumps({key: value for key, value in row.items() if key != "file"}) + "\n" for row in rows))
    found = judged(read([tmp_path / "0.jsonl", tmp_path / "1.jsonl"]), "median_tpot_ms", "B", "A")[4]
    assert (found.ratio, found.lo, found.hi, found.pairs, found.verdict) == pytest.approx((0.8, 0.8, 0.8, 2, "inconclusive"))


def test_prompts_of_another_length_are_a_table_of_their_own() -> None:
    assert run.loads("4:40,16:64:8192") == [(4, 40, 1024), (16, 64, 8192)]
    rows = [{"kind": "start", "arm": arm, "why": arm, "file": 0, "gpu": 0, "place": place, "seconds_to_ready": 1.0} for place, arm in enumerate("AB")]
    for place, tpot in enumerate((10.0, 8.0)):
        rows += [{**load("AB"[place], 0, place, 1, tpot * isl / 1024), "median_ttft_ms": 1.0, **more} for isl, more in ((1024, {}), (8192, {"isl": 8192}))]
    short, long = tables(rows).split("8192 tokens in")
    assert "1024 tokens in" in short and "| 4 | B: B | 8.000 |" in short and "| 4 | B: B | 64.000 |" in long


def test_launches_of_a_layer_are_counted_without_the_prefill_and_without_what_a_step_launches_once() -> None:
    """Two layers, 32 steps: `two` comes twice in a layer, `first` in the first layer only, `head` once a step, `prefill` twice in all."""
    step = [("two", 1.0), ("first", 4.0), ("two", 1.0), ("two", 1.0), ("rest", 4.0), ("two", 3.0), ("head", 9.0)]
    kernels, now = [("prefill", -9.0, -8.0), ("Memcpy HtoD", -7.0, -6.0), ("prefill", -5.0, -4.0)], 0.0
    for name, us in step * launches.STEPS:
        kernels, now = [*kernels, (name, now, now + us)], now + us
    row = {"moe": "ours", "tokens": 4, "layers": 2, **launches.packed(launches.decode(kernels))}
    assert row["names"] == ["two", "first", "rest", "head"] and row["kernels"][:2] == [[0, 0.0, 1.0], [1, 1.0, 5.0]]
    assert launches.per_layer({**row, "layers": 3}) == [("two", pytest.approx(4 / 3), 1.0)]
    assert "| ours | 4 | **all** | **1.33** | 1.3 a layer |" in launches.table([{**row, "layers": 3}])


def test_a_start_beside_another_process_does_not_count() -> None:
    rows = [{"kind": "start", "arm": "A", "file": 0, "gpu": 1, "place": place, **more} for place, more in enumerate(({}, {"foreign": ""}, {"foreign": "7, x"}))]
    assert disturbed(rows) == {"0:1:2": "another process was on the device: 7, x"}


def test_what_was_recorded_before_is_read_and_judged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of docs/serving-h200.md, word for word."""
    monkeypatch.setattr(sys, "argv", ["table", str(ROOT / "studies/fullsize/records/h200-2026-11-22-evening.jsonl"), "--leave-out", "0:0:0"])
    table.main()
    printed, page = capsys.readouterr().out, (ROOT / "docs/serving-h200.md").read_text().replace("**", "")
    rows = [line for line in printed.splitlines() if line.startswith(("| 4 |", "| 16 |", "| 32 |"))]
    assert len(rows) == 24 and "left out: the start FILE:GPU:PLACE 0:0:0: as asked" in printed
    assert [row for row in rows if row not in page] == []


def test_a_start_is_taken_apart_from_the_log() -> None:
    log = ("x Model loading took 61.43 GiB memory and 3.52 seconds\nx Directly load AOT compilation from path /c\nx torch.compile took 4.80 s in total\n"
           "x Graph capturing finished in 13 secs, took 0.62 GiB\n")  # fmt: skip
    assert phases(log) == {"load_s": 3.52, "compile_s": 4.8, "capture_s": 13.0, "graphs_gib": 0.62, "cached": True}
    assert phases(log.replace("Directly", "x"))["cached"] is False
    assert phases("nothing of it") == {}
    row = {"kind": "start", "arm": "A", "why": "w", "gpu": 1, "place": 2, "file": 0, "seconds_to_ready": 41.66, **phases(log.replace("Directly", "x"))}
    assert "| A: w | 0:1:2 | 41.7 | 3.52 | 4.8 (not cached) | 13 | 0.62 GiB |" in tables([row])
    assert "| A: w | 0:1:2 | 41.7 |  |  |  |  |" in tables([{key: row[key] for key in ("kind", "arm", "why", "gpu", "place", "file", "seconds_to_ready")}])


def test_arms_differ_in_what_they_say_alone() -> None:
    made = {name: arms.command(name, Path("/m"), python="py", gpu=0, port=8100, cwd=Path("/c"), pythonpath="", utilization=0.8, kv_gib=1.0) for name in arms.ARMS}
    base = made["A"]
    for name, command in made.items():
        assert command.argv[: len(base.argv)] == base.argv, name
        assert set(command.env) - set(base.env) <= {"TUNEFORK_CAPTURE_PLAN", warps.VARIABLE}
    assert made["D"].env["TUNEFORK_OVERRIDES"] == "random_mxfp4,moe_a16w4,capture_plan"
    assert Path(made["K"].env["TUNEFORK_CAPTURE_PLAN"].rpartition("=")[2]).is_file()
    sizes = json.loads(made["G"].argv[-1].partition("=")[2])
    assert len(sizes) == 180 and sizes[-1] == 8192


def test_an_arm_that_needs_a_plugin_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A T without its plugin serves as vLLM ships, silently: a start on an H200 did, and so would every one of served.sh on a stranger's node."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = argparse.Namespace(gpu=0, model=tmp_path, utilization=0.5, kv_gib=1.0, attention="auto", ready_timeout=1.0)
    asked = ("from importlib.metadata import entry_points\n"
             "print(*[one.value for one in entry_points(group='vllm.general_plugins') if one.load().__module__ == 'studies.fullsize.warps'])")  # fmt: skip
    for name, expected in (("T", "studies.fullsize.warps:register"), ("A", ""), ("F", "")):
        command = run.prepare(name, words, 0, tmp_path).command
        done = subprocess.run([sys.executable, "-P", "-c", asked], env={**os.environ, **command.env}, cwd=command.cwd, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected, name


def test_no_server_starts_when_the_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start takes a minute, and its loads would be refused after it."""
    monkeypatch.setattr(run, "prepare", lambda *_: pytest.fail("a server was prepared"))
    monkeypatch.setattr(run.ready, "versions", dict)
    words = argparse.Namespace(out=tmp_path / "rows.jsonl", sequence="A,F", place=3, gpu=37, seconds=-1)
    run.run(words)
    rows = [json.loads(line) for line in words.out.read_text().splitlines()]
    assert [(row["kind"], row.get("place"), row.get("message")) for row in rows[1:]] == [
        ("failure", 3, "no time for a start of arm A"), ("failure", 4, "no time for a start of arm F")]  # fmt: skip


@pytest.mark.parametrize("layers", [4, 36])
def test_the_model_has_gpt_oss_shapes(layers: int) -> None:
    made = config(layers)
    assert len(made["layer_types"]) == made["num_hidden_layers"] == layers and made["layer_types"][:2] == ["sliding_attention", "full_attention"]
    assert (made["hidden_size"], made["intermediate_size"], made["num_local_experts"], made["vocab_size"]) == (2880, 2880, 128, VOCABULARY)


def test_a_layers_microseconds_add_up_and_an_early_launch_is_not_counted_twice() -> None:
    """Three layers of four launches each; attention's norm is launched 2 us before the launch in front of it ends."""
    names = ["triton_red_fused_add_rms_norm", "gemm", "kernel_unified_attention", "up_kernel"]
    kernels = [[at, 20 * layer + begin, 20 * layer + end] for layer in range(6) for at, begin, end in ((0, 0, 3), (1, 4, 8), (2, 8, 12), (3, 13, 22))]
    row = {"moe": "step", "tokens": 4, "layers": 3, "names": names, "kernels": kernels}
    found = layer.layers(row)
    assert [len(one) for one in found] == [4, 4] and found[0][0] == (names[0], -2, 1)
    assert layer.shares(found[0]) == [(names[0], 0, 1), (names[1], 1, 4), (names[2], 0, 4), (names[3], 1, 9)]
    assert layer.length(found[0]) == 20
    assert "4 launches, 20.0 us" in layer.table([row]) and layer.drawn([row], {}).count("<rect") == 5


def test_the_documents_launches_and_picture_are_the_record() -> None:
    path = ROOT / "studies/fullsize/records/h200-2026-11-30-evening-launches.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    said = (ROOT / "docs/decode-step.md").read_text()
    for name, tokens, launched, us in (("shipped", 4, 18, 166.6), ("ours", 4, 14, 122.5), ("step", 4, 9, 109.0), ("ours", 16, 15, 267.4), ("step", 16, 10, 264.0),
                                       ("step", 1, 10, 63.2)):  # fmt: skip
        row = next(one for one in rows if (one["moe"], one["tokens"]) == (name, tokens))
        line = next(line for line in layer.table([row]).splitlines() if "launches" in line)
        assert f"{launched} launches, {us:.1f} us" in line
        assert f"{launched} launches, {us:.1f} us" in said, (name, tokens)
    shown = [next(one for one in rows if (one["moe"], one["tokens"]) == (arm, 4)) for arm in ("shipped", "ours", "step")]
    assert (ROOT / "docs/img/layer-h200-served.svg").read_text() == layer.drawn(shown, layer.TITLES)


def test_the_served_table_of_the_decode_step_is_the_record() -> None:
    rows = table.read([ROOT / "studies/fullsize/records/h200-2026-11-30-decode.jsonl"])
    said = (ROOT / "docs/serving-h200.md").read_text().partition("## decode_step, served")[2]
    for isl, concs in ((1024, (1, 4, 16, 64)), (8192, (4,))):
        own = [row for row in rows if row["kind"] == "load" and row["isl"] == isl]
        found = {metric: judged(own, metric, "F", "A") for metric in ("median_tpot_ms", "median_ttft_ms")}
        for conc in concs:
            line = next(line for line in said.splitlines() if line.startswith(f"| {isl} / {conc} |")).replace("*", "")
            for one in (found["median_tpot_ms"][conc], found["median_ttft_ms"][conc]):
                assert f"{one.ratio:.3f} ({one.lo:.3f}-{one.hi:.3f})" in line, (isl, conc)
            assert ("better" in line) == (found["median_tpot_ms"][conc].verdict == "better")
    models = {row["arm"]: {one["model"] for one in rows if one["kind"] == "start" and one["arm"] == row["arm"]} for row in rows if row["kind"] == "start"}
    assert len(models["A"]) == len(models["F"]) == 1 and models["A"] != models["F"], "an arm has loaded the other's compiled model"
