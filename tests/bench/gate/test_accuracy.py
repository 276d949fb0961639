"""The gate's units, and what one refused request does to it."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tunefork.bench.errors import AccuracyUnknown
from tunefork.bench.gate.accuracy import arguments, judge
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.rules import Bound, Gate
from tunefork.bench.records.schema import ServerRecord
from tunefork.bench.server.target import Target

TASK = """task: sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: {texts}
output_type: generate_until
test_split: test
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{a}}}}"
generation_kwargs:
  until: ["\\n"]
metric_list:
  - metric: exact_match
"""


def gate_of(name: str) -> Gate:
    found = rules.read(rules.GATES / f"{name}.toml").accuracy
    assert found is not None
    return found


def wikitext(bits_per_byte: float, *, bytes_per_word: float = 5.347) -> bytes:
    """What lm_eval 0.4.13 says of its wikitext at this many bits per byte; its words have 5.347 bytes."""
    metrics = {"bits_per_byte,none": bits_per_byte, "byte_perplexity,none": 2**bits_per_byte,
               "word_perplexity,none": 2 ** (bits_per_byte * bytes_per_word)}
    return json.dumps({"results": {"wikitext": metrics}, "n-samples": {"wikitext": {"original": 62, "effective": 62}},
                       "lm_eval_version": "0.4.13"}).encode()


@pytest.mark.parametrize(("bits_per_byte", "status"), [(2.0558, "passed"), (2.09, "passed"), (2.0990, "missed"), (2.13, "missed")])
def test_the_seeds_reference_passes_its_own_gate(bits_per_byte: float, status: str) -> None:
    judged = judge(wikitext(bits_per_byte), gate_of("seed"), {}, seconds=1.0)
    assert judged.status == status
    assert [one.name for one in judged.limits if one.at_most is not None] == ["bits_per_byte", "byte_perplexity"]


def test_word_perplexity_is_in_the_guides_unit() -> None:
    """Its fork counts Llama-2 tokens for words: at the reference's bits per byte, the reference's 222.7893."""
    judged = judge(wikitext(2.0558), gate_of("seed"), {}, seconds=1.0)
    assert judged.metrics["word_perplexity"] == pytest.approx(222.7893, rel=1e-3)
    assert judged.metrics["perplexity_per_word"] == pytest.approx(2037, rel=1e-3)
    leaderboard = rules.read(rules.GATES / "seed.toml").leaderboard
    assert leaderboard is not None
    assert set(leaderboard.accuracy) <= set(judged.metrics)


def test_a_converted_value_that_no_number_holds_is_no_pass() -> None:
    gate = gate_of("seed").model_copy(update={"limits": (Bound(name="w", metric="byte_perplexity,none", per_bytes=3.8),)})
    answer = json.loads(wikitext(2.0))
    answer["results"]["wikitext"]["byte_perplexity,none"] = 1e200
    with pytest.raises(AccuracyUnknown, match="beyond what w can hold"):
        judge(json.dumps(answer).encode(), gate, {}, seconds=1.0)
    assert math.isfinite(judge(wikitext(2.0), gate, {}, seconds=1.0).metrics["w"])


@pytest.mark.parametrize("name", sorted(path.stem for path in rules.GATES.glob("*.toml")))
def test_every_gate_asks_again(name: str) -> None:
    gate = rules.read(rules.GATES / f"{name}.toml").accuracy
    assert gate is None or int(gate.model_args["max_retries"]) >= 3, "lm_eval's max_retries counts tries: 1 gives up at once"


def test_the_seeds_requests_are_the_harness() -> None:
    given = gate_of("seed").model_args
    assert (given["num_concurrent"], given["max_retries"]) == (10, 3)


@pytest.fixture
def busy_once() -> Iterator[tuple[str, list[int]]]:
    """A completions server whose second answer is 503; its URL and the statuses it gave."""
    given: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            given.append(503 if len(given) == 1 else 200)
            body = json.dumps({"choices": [{"index": 0, "text": " 4\n"}]}).encode()
            self.send_response(given[-1])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", given
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="NOT TESTED: needs lm_eval (develop installs it)")
@pytest.mark.parametrize("name", ["seed", "stage2"])
def test_one_503_does_not_end_a_gate(name: str, busy_once: tuple[str, list[int]], tmp_path: Path) -> None:
    """The real lm_eval, with our gate's arguments, on a task of four questions."""
    url, given = busy_once
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"q": f"{i} + {4 - i}?", "a": "4"}) + "\n" for i in range(4)))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "sums.yaml").write_text(TASK.format(texts=json.dumps(str(tmp_path / "texts.jsonl"))))
    server = ServerRecord(own=True, base_url=url, model="none", served_name="m", target="cpu", version="0.33.0", gpus=1, argv=(), env={},
                          seconds_to_ready=1.0, log=None)
    target = Target(server=server, trees=(), versions={}, python=Path(sys.executable), env={}, cwd=tmp_path, trial="t")
    ours = gate_of(name)
    gate = ours.model_copy(update={"task": "sums", "fewshot": None, "model_args": {**ours.model_args, "tokenizer_backend": "none"}})
    done = subprocess.run([*arguments(target, gate, tmp_path), "--include_path", str(tmp_path / "tasks")], cwd=tmp_path, check=False,
                          capture_output=True, text=True,
                          env=target.environment(HF_DATASETS_OFFLINE="1", HF_DATASETS_CACHE=str(tmp_path / "datasets")))
    assert done.returncode == 0, done.stderr[-2000:]
    assert (given.count(200), given.count(503)) == (4, 1)
