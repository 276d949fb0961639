"""Make the pictures of the report in docs/statistics.md: ``.venv/bin/python -P tools/simulated_report.py``. Needs the extra ``report`` and chromium.

The records are made up as for the report's tests (tests/bench/report/samples.py), on a "simulated chip"; names and effects stand here. Nothing was measured.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

from PIL import Image

from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import Store
from tunefork.bench.report import build

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "docs/img"
TESTS = ROOT / "tests/bench/report"
EFFECTS = {"made-up-gain": 1.06, "made-up-nothing": 1.001, "made-up-loss": 0.96}
RUNS = 300  # single runs beside the experiments
DESKTOP, PHONE, NARROWEST = (1280, 1430), (390, 2600), 500  # the last: headless Chromium's narrowest window
CHROMIUM = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=10000")


def made_up(samples: ModuleType) -> list[Record]:
    """An experiment for each effect, an A/A, and single runs."""
    found: list[Record] = []
    for place, (name, effect) in enumerate(EFFECTS.items()):
        found += samples.experiment("series", "base", f"only:{name}", effect, comparison=f"alone:{name}", first=1000 * place)
    found += samples.experiment("calibration", "base", "base", 1.0, first=9000)
    draw = random.Random(1)
    return found + [samples.record(10000 + number, draw.choice(["base", "all"]), draw.choice([4, 32, 128]), draw.uniform(0.7, 0.95)) for number in range(RUNS)]


def shot(page: Path, size: tuple[int, int], out: Path) -> None:
    """A picture of a page; a window narrower than Chromium's narrowest is a frame in one that is not."""
    width, height = size
    if width < NARROWEST:
        frame = page.with_name("frame.html")
        frame.write_text(f'<body style="margin:0"><iframe src="{page.name}" width="{width}" height="{height}" style="border:0" scrolling="no"></iframe></body>')
        page = frame
    window = f"--window-size={max(width, NARROWEST)},{height}"
    profile = f"--user-data-dir={page.with_name('browser')}"
    subprocess.run([*CHROMIUM, profile, window, f"--screenshot={out}", f"file://{page}"], check=True, capture_output=True)
    with Image.open(out) as taken:
        taken.crop((0, 0, width, height)).convert("RGB").quantize(256).save(out, optimize=True)


def main() -> None:
    sys.path.insert(0, str(TESTS))  # the tests are no package
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store: Store = import_module("conftest").fill(folder / "records", made_up(import_module("samples")))
        page = folder / "report.html"
        build.write(build.gather(store), out=page)
        shot(page, DESKTOP, HERE / "bench-report-desktop.png")
        shot(page, PHONE, HERE / "bench-report-phone.png")


if __name__ == "__main__":
    main()
