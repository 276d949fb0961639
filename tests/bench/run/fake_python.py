"""A stand-in for the developed interpreter: `vllm serve`, `vllm bench serve`, lm_eval and the tiny model's maker, with faults to order.

FAKE is a JSON object in the environment: "log" (a file that gets one line per call), "client" ({CONC: fault}), "lm_eval" (a fault),
"metrics" (lm_eval's values), "samples" (their text by the folder of the arm), "longest" (the server's max_model_len), "vram" (the file in which
fake_smi.py finds the memory in use; a server that "leaks" leaves it). The client's answer and lm_eval's have the keys of the real ones (client_answer.json, lm_eval_answer.json).
"""

import json
import os
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
FAKE = json.loads(os.environ.get("FAKE", "{}"))


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def note(what: str) -> None:
    if FAKE.get("log"):
        with open(FAKE["log"], "a") as log:
            log.write(what + "\n")


def serve() -> None:
    name = option("--served-model-name")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/die":
                os._exit(7)
            body = json.dumps({"data": [{"id": name, "max_model_len": FAKE.get("longest", 131072)}]}).encode()
            if self.path == "/metrics" and "prefix_cache" in FAKE:
                body = f'vllm:cache_config_info{{block_size="16",enable_prefix_caching="{FAKE["prefix_cache"]}",engine="0"}} 1.0\n'.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            return

    note("serve")
    if FAKE.get("server") == "tells":  # as vLLM prints the arguments that are not the default
        print("non-default args:", sys.argv, {name: value for name, value in os.environ.items() if name != "FAKE"}, flush=True)
        if os.environ.get("API_TOKEN") == "dies":
            sys.exit("no such device")
    if FAKE.get("server") == "dies":
        sys.exit("no such device")
    vram = FAKE.get("vram")
    if vram:
        Path(vram).write_text(f"200000 {os.getpid()} python")
    try:
        ThreadingHTTPServer(("127.0.0.1", int(option("--port"))), Handler).serve_forever(poll_interval=0.05)
    except KeyboardInterrupt:
        print("leaving")
    if vram:
        Path(vram).write_text("200000" if FAKE.get("server") == "leaks" else "300")


def client() -> None:
    conc, prompts = int(option("--max-concurrency")), int(option("--num-prompts"))
    fault = FAKE.get("client", {}).get(str(conc), "good")
    note(f"client {conc}")
    if fault == "hangs":
        print("hanging", flush=True)
        time.sleep(600)
    if fault == "kills-server":
        try:
            urllib.request.urlopen(option("--base-url") + "/die")
        except OSError:
            time.sleep(600)
    if fault == "crashes":
        sys.exit("Traceback: ValueError: no route")
    answer = json.loads((HERE / "client_answer.json").read_text())
    made, fed = int(option("--random-output-len")), int(option("--random-input-len"))
    ttft, itl = 0.050, 0.010
    e2el = ttft + itl * (made - 1)
    duration = prompts / conc * e2el
    total = prompts * (made + fed)
    answer.update(num_prompts=prompts, max_concurrency=conc, duration=duration, completed=prompts, failed=0,
                  total_input_tokens=prompts * fed, total_output_tokens=prompts * made, request_throughput=prompts / duration,
                  output_throughput=prompts * made / duration, total_token_throughput=total / duration,
                  input_lens=[fed] * prompts, output_lens=[made] * prompts, ttfts=[ttft] * prompts,
                  itls=[[itl] * (made - 1)] * prompts, start_times=[1.0] * prompts, errors=[""] * prompts)
    for kind in ("mean", "median", "p99"):
        answer.update({f"{kind}_ttft_ms": 1000 * ttft, f"{kind}_tpot_ms": 1000 * itl, f"{kind}_itl_ms": 1000 * itl,
                       f"{kind}_e2el_ms": 1000 * e2el})
    if fault == "requests-fail":
        answer.update(failed=3, completed=prompts - 3, errors=["Internal Server Error"] * 3 + [""] * (prompts - 3))
    if fault == "nan":
        answer["median_tpot_ms"] = float("nan")
    if fault == "short":
        answer["output_lens"] = [made - 1, *answer["output_lens"][1:]]
    if fault == "missing":
        del answer["median_e2el_ms"]
    path = Path(option("--result-dir")) / option("--result-filename")
    if fault == "blocks":
        # A dangling link: the name is free to look at, and no folder can be made of it.
        (path.parent.parent / "conc4-1").symlink_to("/nowhere")
    if fault == "no-answer":
        return
    path.write_text("{half" if fault == "half" else json.dumps(answer))


def lm_eval() -> None:
    fault = FAKE.get("lm_eval", "good")
    task = option("--tasks")
    note(f"lm_eval {task}")
    if fault == "crashes":
        sys.exit("ConnectionError: the server is gone")
    answer = json.loads((HERE / "lm_eval_answer.json").read_text())
    values = {"bits_per_byte,none": 2.0, "byte_perplexity,none": 4.0, "word_perplexity,none": 200.0,
              "exact_match,strict-match": 0.95, "exact_match,flexible-extract": 0.95, **FAKE.get("metrics", {})}
    if task == "tiny_stories" and "metrics" not in FAKE:
        values["bits_per_byte,none"] = 0.7510
    if fault == "nan":
        values["bits_per_byte,none"] = float("nan")
    if fault == "not-available":
        values["bits_per_byte,none"] = "N/A"
    if fault == "zero":
        values["bits_per_byte,none"] = 0.0
    if fault == "missing":
        del values["bits_per_byte,none"]
    answer["results"] = {task: values}
    answer["n-samples"] = {task: {"original": 29, "effective": 10 if fault == "partial" else 29}}
    path = Path(option("--output_path"))
    if lines := FAKE.get("samples", {}).get(path.parent.name):
        path.with_name(f"samples_{task}_2026-11-22T09-25-15.313912.jsonl").write_text(lines)
    if fault != "no-file":
        text = "| bits_per_byte | 0.1 |" if fault == "table" else json.dumps(answer)
        path.with_name(f"{path.stem}_2026-11-22T09-25-15.313912.json").write_text(text)


def tiny() -> None:
    folder = Path(option("--models")) / "tiny-fake"
    (folder / "eval").mkdir(parents=True, exist_ok=True)
    (folder / "eval" / "stories.jsonl").write_text('{"text": "one"}\n')
    if not (folder / "manifest.json").exists():  # as the real one, which makes no model twice
        (folder / "manifest.json").write_text(json.dumps({"transformers_bits_per_byte": 0.7486}))
    print(json.dumps({"path": str(folder), "made": True, "seconds": 0.1}))


PARTS = {"vllm.entrypoints.cli.main serve": serve, "vllm.entrypoints.cli.main bench": client, "lm_eval run": lm_eval,
         "tunefork.bench.server.tiny --models": tiny}
if Path(sys.argv[1]).name == "probe.py":  # probe.py SAMPLES MODULE ...
    if FAKE.get("lags"):
        Path(sys.argv[2]).write_text(json.dumps(FAKE["lags"]))
    sys.argv[1:4] = ["-m", sys.argv[3]]
PARTS[" ".join(sys.argv[2:4])]()
