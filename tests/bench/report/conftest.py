"""A store with a thousand records, and a browser with no network."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loading import module

from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store

# Nothing of it may speak to a network: the report is opened from a file, and every host resolves to nothing.
CHROMIUM = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
            "--virtual-time-budget=10000"]


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    return module("report_samples", Path(__file__).with_name("samples.py"))


def fill(folder: Path, records: list[Record]) -> Store:
    """As Store.write leaves them, without its fsyncs, which would take a minute for a thousand."""
    for record in records:
        home = folder / record.id
        home.mkdir(parents=True)
        data = record.model_dump_json().encode()
        (home / "record.json").write_bytes(data)
        (home / "manifest.json").write_text(json.dumps({"format": 1, "files": {"record.json": hashlib.sha256(data).hexdigest()}}))
    return Store(folder)


@pytest.fixture(scope="session")
def thousand(samples: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fill(tmp_path_factory.mktemp("thousand") / "work" / "records", samples.many(1000))


@pytest.fixture
def store_of(tmp_path: Path) -> Callable[[list[Record]], Store]:
    return lambda records: fill(tmp_path / "work" / "records", records)


@pytest.fixture
def chromium() -> str:
    """The browser's program."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("NO BROWSER HERE: that the report works in one is not tested (install chromium)")
    return found


@pytest.fixture
def browse(tmp_path: Path, chromium: str) -> Callable[[Path, str, int], tuple[Any, list[str]]]:
    """browse(html, script, width): what the script returns after the page has run, and every console message."""

    def run(html: Path, script: str, width: int) -> tuple[Any, list[str]]:
        probe = ("<script>addEventListener('load', () => setTimeout(async () => { const pre = document.createElement('pre'); pre.id = 'probe';"
                 f"pre.textContent = JSON.stringify(await (async () => {{ {script} }})()); document.body.append(pre); }}, 3000))</script></body>")
        page = tmp_path / "probed.html"
        page.write_text(html.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
        done = subprocess.run([chromium, *CHROMIUM, f"--user-data-dir={tmp_path / 'browser'}", f"--window-size={width},2000", "--dump-dom",
                               f"file://{page}"], capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        text = done.stdout.rpartition('<pre id="probe">')[2].partition("</pre>")[0]
        return json.loads(unescape(text)), [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return run
