"""`build.py bench ...` with stand-ins for vLLM, its client and lm_eval, in a checkout of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tunefork.base.ports import free_port
from tunefork.bench.records.schema import Record, Scenario, ServerRecord
from tunefork.bench.records.store import Store
from tunefork.bench.server.client import Client
from tunefork.bench.server.target import Target

FAKE = Path(__file__).with_name("fake_python.py")
SMI = Path(__file__).with_name("fake_smi.py")
TREE = "c" * 40

# Runs the command with an installed variant that is the stand-in, whatever this machine has installed.
DRIVER = """
import os
import sys
from pathlib import Path
from tunefork.develop import variants
from tunefork.patchset.checkout import applied
tree = applied.AppliedTree("vllm", "all", Path("/nowhere"), "sdist", "a" * 40, "b" * 40, sys.argv[3], ("one", "two"))
variants.environment = lambda layout, variant, say: variants.VariantEnvironment(Path(sys.argv[1]), {}, tree, "0.29.0+fake", sys.argv[2])
applied.applied_tree = lambda layout, upstream, variant=None: tree if upstream == "vllm" else None
from tunefork.bench.run import session
session.require_client = session.require_lm_eval = lambda: None
session.installed_target = lambda: sys.argv[2]
session.interpreter = lambda: Path(sys.argv[1])
if os.environ.get("FAKE_CLOCK"):
    import itertools
    import time
    from datetime import timedelta
    from tunefork.bench.records import schema, store
    from tunefork.bench.run import measure
    steps, utc, wall = itertools.count(1), schema.utc_now, time.time
    jump = float(os.environ["FAKE_CLOCK"])
    set_clock = lambda: utc() + timedelta(seconds=jump * next(steps))
    schema.utc_now = store.utc_now = measure.utc_now = set_clock
    time.time = lambda: wall() + jump * next(steps)
if os.environ.get("LB_URL_OVERRIDE"):
    import functools
    from tunefork.bench.submit import gradio
    gradio.Patience = functools.partial(gradio.Patience, backoff_s=0.01)  # nobody is there: tests/bench/submit tests the waits
from tunefork.cli.main import main
sys.exit(main(sys.argv[4:]))
"""


@dataclass
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def statuses(self) -> dict[int, str]:
        return {one["conc"]: one["status"] for one in self.json["configurations"]}


@dataclass
class World:
    """A checkout with stand-ins. fake: the faults (see fake_python.py)."""

    root: Path
    python: Path
    port: int
    target: str = "cpu"
    tree: str = TREE
    fake: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        inherited = {key: value for key, value in os.environ.items() if key not in ("MODEL", "PORT", "TP", "ISL", "OSL", "CONC")}
        environment = {**inherited, "TUNEFORK_ROOT": str(self.root), "TUNEFORK_CACHE": str(self.root / "cache"),
                       "FAKE": json.dumps({**self.fake, "log": str(self.root / "calls")}), **self.env}
        return subprocess.Popen([sys.executable, "-c", DRIVER, str(self.python), self.target, self.tree, "bench", *arguments],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                                cwd=self.root, start_new_session=True)

    def smi(self, name: str, used: str = "300") -> Path:
        """Put a GPU tool on the PATH of what is started; the file in which it finds the memory in use."""
        folder, vram = self.root / "bin", self.root / "vram"
        folder.mkdir(exist_ok=True)
        vram.write_text(used)
        (folder / name).write_text(f"#!/bin/sh\nexec {sys.executable} {SMI} {name} {vram} \"$@\"\n")
        (folder / name).chmod(0o755)
        self.env.update(PATH=f"{folder}:/usr/bin:/bin", HIP_VISIBLE_DEVICES="0")
        return vram

    def serve(self, name: str = "tiny") -> subprocess.Popen[str]:
        """A stand-in server that nobody supervises, answering."""
        server = subprocess.Popen([str(self.python), "-m", "vllm.entrypoints.cli.main", "serve", "x", "--served-model-name", name,
                                   "--port", str(self.port)], text=True)
        with Client(f"http://127.0.0.1:{self.port}", name) as client:
            deadline = time.monotonic() + 30
            while not client.healthy() and time.monotonic() < deadline:
                time.sleep(0.1)
        return server

    def bench(self, *arguments: str) -> Done:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return Done(process.returncode, out, err)

    def run(self, *arguments: str) -> Done:
        """`bench run --json` on this world's port."""
        return self.bench("run", "--json", *(() if "--resume" in arguments else ("--port", str(self.port))), *arguments)

    def seed(self, *arguments: str) -> Done:
        """A run of a profile for gfx950, with weights that need not exist."""
        self.target = "gfx950"
        return self.run("--model", "/weights", *arguments)

    @property
    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def store(self) -> Store:
        return Store(self.root / "work" / "records")

    @property
    def records(self) -> list[Record]:
        return [self.store.verify(name) for name in self.store.ids()]

    @property
    def batches(self) -> list[Path]:
        return sorted((self.root / "work" / "bench").glob("batch_*"))


def stand_ins(root: Path) -> list[psutil.Process]:
    """All living processes of this test's stand-ins, orphans included."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        with contextlib.suppress(psutil.Error):
            if (FAKE.name in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
                    and process.environ().get("TUNEFORK_ROOT") == str(root)):
                found.append(process)
    return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport os, sys\nos.execv({sys.executable!r}, ['python', {str(FAKE)!r}, *sys.argv[1:]])\n")
    python.chmod(0o755)
    yield World(tmp_path, python, free_port("127.0.0.1"))
    left = stand_ins(tmp_path)
    for process in left:
        process.kill()
    assert not left, f"left behind: {left}"


@pytest.fixture
def scenario() -> Scenario:
    return Scenario(isl=64, osl=32, conc=2, num_prompts=10, warmups=4, range_ratio=1.0, seed=0)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    server = ServerRecord(own=True, base_url="http://127.0.0.1:9", model="/weights", served_name="tiny", target="cpu", version="0.29.0", gpus=1,
                    argv=(), env={}, seconds_to_ready=1.0, log=None)
    return Target(server=server, trees=(), versions={}, python=Path(sys.executable), env={}, cwd=tmp_path, trial="t")


@pytest.fixture
def answer() -> dict[str, Any]:
    """What the real client said of CONC 2, 64 in, 32 out."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("client_answer.json").read_text())
    return found
