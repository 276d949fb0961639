"""What is given to a server in secret is in nothing that a run leaves: records, batches, plans, logs, the terminal."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tunefork.bench.records.schema import ServerRecord

SECRETS = {"argument": "sk-argument-4f9a", "profile": "hf_profile_8b7c", "shell": "key-of-the-shell-1d2e", "url": "password-in-a-url-77"}
PROFILE = f"""
base = "smoke"
description = "with a token, as a user would write it"

[[differences]]
key = "environment.HF_TOKEN"
value = "{SECRETS["profile"]}"
why = "gated weights"
"""


def give(world: Any) -> tuple[str, ...]:
    """A run with a secret in every place; its arguments."""
    (world.root / "own.toml").write_text(PROFILE)
    world.env.update(VLLM_API_KEY=SECRETS["shell"], MODEL_SERVER_PASSWORD="at-least-6")
    world.fake["server"] = "tells"
    return "--profile", str(world.root / "own.toml"), "--", "--api-key", SECRETS["argument"], f"--proxy=http://me:{SECRETS['url']}@proxy"


def left(root: Path) -> dict[str, bytes]:
    """Every file that a run left, compressed ones opened; without what the test itself wrote."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file() and path.name not in ("own.toml", "calls", "python"):
            found[str(path.relative_to(root))] = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return found


def leaks(root: Path, *said: str) -> list[str]:
    every = {**left(root), **{f"said {at}": text.encode() for at, text in enumerate(said)}}
    return sorted(f"{kind} in {name}" for name, data in every.items() for kind, secret in SECRETS.items() if secret.encode() in data)


@pytest.mark.slow
def test_a_run_leaves_no_secret(world: Any) -> None:
    done = world.run(*give(world))
    assert done.code == 0, done.err
    assert len(left(world.root)) > 10 and leaks(world.root, done.out, done.err) == []
    record = world.records[0]
    assert record.server.env["HF_TOKEN"] == "<redacted>" and record.server.argv[record.server.argv.index("--api-key") + 1] == "<redacted>"
    log, = (world.root / "work" / "logs").rglob("*.log") if not record.server.log else [Path(record.server.log)]
    text = log.read_text()
    assert "non-default args" in text and text.count("<redacted>") >= 4 and "at-least-6" not in text
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_server_that_dies_tells_no_secret(world: Any) -> None:
    arguments = give(world)
    world.env["API_TOKEN"] = "dies"
    done = world.run(*arguments)
    assert done.code == 9 and "non-default args" in done.err and leaks(world.root, done.out, done.err) == []


@pytest.mark.slow
def test_a_batch_that_lost_its_secret_is_not_gone_on_with(world: Any) -> None:
    """With `<redacted>` as its key it would be another server."""
    arguments = give(world)
    world.fake["client"] = {"1": "crashes"}
    assert world.run(*arguments).code != 0
    batch, = world.batches
    done = world.run("--resume", str(batch))
    assert done.code == 2 and "secret after `--`, which is not kept" in done.err and "VLLM_API_KEY" in done.err
    assert leaks(world.root, done.out, done.err) == []


def test_records_of_before_are_read_without_theirs() -> None:
    old = {"own": True, "base_url": "u", "model": "m", "served_name": "s", "target": "cpu", "version": "1", "gpus": 1, "seconds_to_ready": 1.0, "log": None,
           "argv": ["serve", "--api-key", SECRETS["argument"]], "env": {"HF_TOKEN": SECRETS["profile"], "VLLM_MAX_TOKENS": "8192"}}  # fmt: skip
    told = ServerRecord.model_validate_json(json.dumps(old)).model_dump_json()
    assert not any(secret in told for secret in SECRETS.values()) and "8192" in told
