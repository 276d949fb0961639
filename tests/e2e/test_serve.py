"""The real server: ready, completions, Ctrl-C and kill -9 leave nothing, the score is what transformers says (a patch that shows: test_bench_ab.py).

A start takes three imports of vLLM: tests take the server that the one before left, and one that ends a server starts the next.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from tunefork.base import ports
from tunefork.base.guarded import alive
from tunefork.bench.profiles import profile
from tunefork.bench.server.client import Client
from tunefork.bench.server.tiny.store import file_hashes
from tunefork.cli.serve import serve

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 400


class Running:
    """One `build.py serve --json` that is ready."""

    def __init__(self, process: subprocess.Popen[str], said: dict[str, Any]) -> None:
        self.process, self.said = process, said
        self.client = Client(said["base_url"], said["model"])
        self.port = int(said["base_url"].rsplit(":", 1)[1])
        self.tree = psutil.Process(process.pid).children(recursive=True)

    def gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while any(alive(one) for one in self.tree) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not any(alive(one) for one in self.tree)


class Lent:
    """One server at a time, started where none runs."""

    def __init__(self) -> None:
        self.running: Running | None = None

    def __call__(self) -> Running:
        if self.running is None or self.running.process.poll() is not None:
            self.running = started()
        return self.running

    def give_back(self) -> None:
        if self.running:
            self.running.process.send_signal(signal.SIGINT)
            try:
                self.running.process.wait(60)
            finally:
                self.running.process.kill()
                self.running.process.communicate()


@pytest.fixture(scope="module")
def server(developed: Path) -> Iterator[Lent]:
    """server(): one that is ready, which tests may end; stopped after the last."""
    lent = Lent()
    yield lent
    lent.give_back()


def started() -> Running:
    """A server of the smoke profile on a free port."""
    process = subprocess.Popen([sys.executable, str(ROOT / "build.py"), "serve", "--port", "0", "--json"], cwd=ROOT, text=True,
                               env={**os.environ, "TUNEFORK_ROOT": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        while lines[-1] not in ("", "}\n"):
            lines.append(process.stdout.readline())
        if not lines[-1]:
            raise AssertionError(f"serve ended: {process.communicate()[1]}")
        return Running(process, json.loads("".join(lines)))
    except BaseException:
        process.kill()  # its guardian takes the rest
        process.communicate()
        raise


def test_the_openai_client_chats_with_it_at_once_and_streaming(server: Lent) -> None:
    """vLLM renders a chat of a gpt_oss model in Harmony's tokens, which the tiny model has; a vocabulary of its own was refused (400)."""
    from openai import OpenAI

    running = server()
    with OpenAI(base_url=f"{running.said['base_url']}/v1", api_key="none", timeout=120, max_retries=0) as client:
        asked: dict[str, Any] = {"model": running.said["model"], "max_tokens": 48, "temperature": 0,
                                 "messages": [{"role": "user", "content": "Tell me a story of Alice, Hugo and Zoe."}]}
        first = client.chat.completions.create(**asked)
        answer = first.choices[0].message
        assert answer.role == "assistant"
        assert answer.content and answer.content.strip() and "<|" not in answer.content, "the answer, not its tokens of control"
        assert first.usage is not None and first.usage.prompt_tokens > 60, "Harmony's system message is in front"
        pieces = [choice.delta.content or "" for chunk in client.chat.completions.create(**asked, stream=True) for choice in chunk.choices]
        assert len([piece for piece in pieces if piece]) > 10, "it streams"
        assert "".join(pieces) == answer.content
        asked["messages"] = [{"role": "system", "content": "Be brief. 短く。"}, *asked["messages"],
                             {"role": "assistant", "content": answer.content}, {"role": "user", "content": "Und dann? 1234 \U0001f600"}]
        again = client.chat.completions.create(**asked)
        assert again.choices[0].finish_reason in ("stop", "length")
        assert again.usage is not None and again.usage.prompt_tokens > first.usage.prompt_tokens


def test_serve_smoke_answers_scores_and_leaves_nothing(server: Lent) -> None:
    running = server()
    assert running.client.healthy()
    assert running.said["seconds_to_ready"] < READY_SECONDS
    first = running.client.complete("This is a story of", 32)
    assert first.completion_tokens == 32
    assert first.text.strip()
    assert running.client.complete("This is a story of", 32) == first, "greedy is deterministic"
    model = served_model(running)
    manifest = json.loads((model / "manifest.json").read_text())
    # bf16 in another order of additions: measured 7e-5 apart; a wrong kernel is percents away.
    assert bits_per_byte(running.client, model) == pytest.approx(manifest["transformers_bits_per_byte"], rel=2e-3)
    assert len(running.tree) >= 3, "the guardian, the API server and its engine"
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    assert not any(alive(one) for one in running.tree)
    assert ports.is_free("127.0.0.1", running.port)


def test_kill_9_of_build_py_leaves_nothing(server: Lent) -> None:
    running = server()
    running.process.kill()
    running.process.wait()
    assert running.gone_within(60)
    assert ports.is_free("127.0.0.1", running.port)


def test_the_tiny_model_has_the_same_bytes_at_every_build(developed: Path, tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        subprocess.run([sys.executable, "-c", MAKE, str(tmp_path / name)], cwd=tmp_path, check=True)
        hashes.append(file_hashes(tmp_path / name))
    assert hashes[0] == hashes[1]
    assert {"model.safetensors", "tokenizer.json", "config.json", "eval/stories.jsonl"} <= set(hashes[0])


# Trained for a few steps only: enough for a difference in a last bit to spread.
MAKE = """
import sys
from pathlib import Path
from tunefork.bench.server.tiny.checkpoint import make_files
from tunefork.bench.server.tiny.recipe import Recipe
make_files(Recipe(train_steps=5, train_characters=200_000, eval_characters=2_000), Path(sys.argv[1]))
"""


def test_vllm_accepts_every_flag_and_variable_of_our_profiles(developed: Path, tmp_path: Path) -> None:
    """What `serve --profile P --dry-run` prints, through vLLM's own parser and its own check of the parsed arguments."""
    commands = {}
    for name in profile.names():
        shown = CliRunner().invoke(serve, ["--profile", name, "--dry-run", "--json"])
        assert shown.exit_code == 0, shown.output
        made = json.loads(shown.stdout)
        commands[name] = {"words": made["argv"][4:], "variables": list(profile.load(name).environment)}
    checked = subprocess.run([sys.executable, "-c", PARSE, json.dumps(commands)], cwd=tmp_path, capture_output=True, text=True,
                             check=False)
    assert checked.returncode == 0, checked.stderr[-3000:]
    assert json.loads(checked.stdout.splitlines()[-1]) == {name: [] for name in profile.names()}


PARSE = """
import json, sys
from vllm import envs
from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.attention.backends.registry import AttentionBackendEnum
unknown = {}
for name, one in json.loads(sys.argv[1]).items():
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(one["words"])
    validate_parsed_serve_args(parsed)
    assert parsed.attention_backend is None or parsed.attention_backend in AttentionBackendEnum.__members__
    unknown[name] = [key for key in one["variables"] if key.startswith("VLLM_") and key not in envs.environment_variables]
print(json.dumps(unknown))
"""


def served_model(running: Running) -> Path:
    """The folder of the model, from the log's first line."""
    words = Path(running.said["log"]).read_text().splitlines()[0].split()
    return Path(words[words.index("serve") + 1])


def bits_per_byte(client: Client, model: Path) -> float:
    """Over the held-out stories, by echo and logprobs."""
    bits, count = 0.0, 0
    for line in (model / "eval" / "stories.jsonl").read_text().splitlines():
        text = json.loads(line)["text"]
        answer = client.complete(text, 1, echo=True, logprobs=True)
        scores = [score for score in answer.logprobs[: answer.prompt_tokens] if score is not None]
        assert len(scores) == answer.prompt_tokens - 1
        bits -= sum(scores) / math.log(2)
        count += len(text.encode())
    return bits / count
