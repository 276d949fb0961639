"""`next_call.sh` where nothing works: it goes on to its last part, says what each came to, prints little, and runs the repeat tests first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST = 12_000  # characters that come back from a device call


def test_every_part_may_fail_and_little_is_printed(tmp_path: Path) -> None:
    python, seen = tmp_path / "python", tmp_path / "seen"
    python.write_text(f'#!/bin/sh\necho "$*" >>{seen}\ni=0\nwhile [ $i -lt 400 ]; do echo "Error \\"kind\\" FAILED {"x" * 400}"; i=$((i + 1)); done\nexit 3\n')
    python.chmod(0o755)
    done = subprocess.run(["sh", "studies/decode_step/next_call.sh", str(tmp_path / "out"), str(python)], cwd=ROOT, env=dict(os.environ),
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.count("exit code 3") == 7 and "== whole: exit code 3" in done.stdout
    assert len(done.stdout) < MOST
    said = seen.read_text()
    tests = next(line for line in said.splitlines() if "pytest" in line)
    assert "tests/kernels/test_moe_a16w4_gpu.py" in tests and "repeats_bit_for_bit" in tests
    assert said.count("--op attend") == 1 and said.count("ahead --rounds 20") == 4


def test_no_part_has_more_time_than_the_call() -> None:
    """Parts get what is left of 385 s at most, and what runs beside them has a limit that ends before they do."""
    script = (ROOT / "studies/decode_step/next_call.sh").read_text()
    assert "left=$((385 - $(date +%s) + begin))" in script and '[ "$limit" -le "$left" ] || limit=$left' in script
    assert all("timeout" in line for line in script.splitlines() if line.startswith('"$python"') or line.rstrip().endswith("&"))
