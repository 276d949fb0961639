"""`served.sh` from its first line to its table on a machine without a GPU: a stand-in of python answers for what needs one, with rows of the H200's records."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from studies.fullsize import arms, ready
from studies.fullsize.layer import table

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "studies/fullsize/records"

STAND_IN = """#!/bin/sh
# python as served.sh calls it; what needs a GPU is told into $SEEN and answered from the records
echo "$*" >>"$SEEN"
case "$*" in
*studies.fullsize.ready*) [ -z "$UNREADY" ] || {{ echo "$UNREADY" >&2; exit 2; }}; echo amd ;;
*device_count*) echo 0 1 ;;
*studies.fullsize.model\\ *) mkdir -p "$3" && echo '{{}}' >"$3/config.json" ;;
*studies.fullsize.run\\ *)
    while [ $# -gt 0 ]; do case "$1" in --gpu) gpu=$2 ;; --out) out=$2 ;; esac; shift; done
    grep "\\"gpu\\": $gpu" {records}/h200-2026-11-30-decode.jsonl >"$out" ;;
*studies.fullsize.launches\\ --model*)
    while [ $# -gt 0 ]; do case "$1" in --out) out=$2 ;; --moe) moe=$2 ;; --tokens) tokens=$2 ;; esac; shift; done
    [ "$moe" != ours ] || exit 3
    grep "\\"moe\\": \\"$moe\\", \\"tokens\\": $tokens," {records}/h200-2026-11-30-evening-launches.jsonl >>"$out" ;;
*studies.fullsize.logits*) exit 3 ;;
*) exec {python} "$@" ;;
esac
"""


def served(tmp_path: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """The script with the stand-in, and the commands that it gave it."""
    python, seen = tmp_path / "python", tmp_path / "seen"
    python.write_text(STAND_IN.format(records=RECORDS, python=sys.executable))
    python.chmod(0o755)
    known = {**os.environ, "SEEN": str(seen), "UNREADY": "", "MODEL_FOLDER": str(tmp_path / "model"), **environment}
    command = ["sh", "studies/fullsize/served.sh", str(tmp_path / "out"), str(python)]
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)
    return done, seen.read_text().splitlines()


@pytest.mark.slow
def test_the_script_runs_to_the_table_on_an_amd_node(tmp_path: Path) -> None:
    """Two GPUs, one lane each; launches of one arm and all logits fail, are named, and the rest is reported."""
    done, seen = served(tmp_path)
    assert done.returncode == 0, done.stderr
    lanes = [line for line in seen if "fullsize.run " in line]
    assert sorted(line.partition("--gpu ")[2][0] for line in lanes) == ["0", "1"]
    assert all("--attention ROCM_AITER_UNIFIED_ATTN" in line and "--ready-timeout 3600" in line and "--sequence A,B,F," in line for line in lanes)
    assert "launches of ours at 4 tokens failed" in done.stdout and "logits of step failed" in done.stdout
    report = (tmp_path / "out/report.md").read_text()
    assert report in done.stdout
    assert "0.682 (0.659-0.706) better" in report.replace("*", "")
    assert "| shipped | 4 | **all** |" in report and "| step | 4 | **9 launches" in report
    assert (tmp_path / "out/layer.svg").read_text().startswith("<svg")
    assert not (tmp_path / "out/path/kernels").exists(), "the root's link would hide a library"


def test_an_environment_that_is_not_ready_is_told_before_anything_is_made(tmp_path: Path) -> None:
    done, seen = served(tmp_path, UNREADY="no scipy: pip install -e '.[ab]'")
    assert done.returncode == 2 and "no scipy: pip install" in done.stderr
    assert len(seen) == 1 and not (tmp_path / "model").exists()


def test_what_is_missing_is_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready.importlib.util, "find_spec", lambda name: None if name in ("scipy", "vllm") else object())
    monkeypatch.setattr(ready.metadata, "entry_points", lambda group: ())
    assert ready.missing() == ["no vllm: an environment with vLLM", f"no scipy: {ready.INSTALL}",
                               f"vLLM would not find the overrides, since no plugin 'tunefork' is installed: {ready.INSTALL}"]  # fmt: skip


def test_the_extra_that_is_named_exists() -> None:
    """`pip install -e '.[bench]'`, as the script once said, installs no judge: pip only warns of an extra that is not there."""
    named = ready.INSTALL.partition("[")[2].partition("]")[0].split(",")
    assert set(named) <= set(metadata.metadata("tunefork").get_all("Provides-Extra"))


def test_a_distribution_of_another_name_gives_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """ROCm's Triton is not called triton everywhere; a run died of it at its first row."""
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    class Module:
        __version__ = "3.6.0+rocm"

    monkeypatch.setattr(ready.metadata, "version", version)
    monkeypatch.setattr(ready.importlib.util, "find_spec", lambda name: None if name == "transformers" else object())
    monkeypatch.setattr(ready.importlib, "import_module", lambda name: Module)
    assert ready.versions() == {"vllm": "3.6.0+rocm", "torch": "3.6.0+rocm", "triton": "3.6.0+rocm", "transformers": ""}


def test_both_names_of_the_visible_gpus_are_set(tmp_path: Path) -> None:
    """vLLM on ROCm stops where HIP_VISIBLE_DEVICES, which a container may set, and CUDA_VISIBLE_DEVICES differ."""
    made = arms.command("F", tmp_path, python="python", gpu=3, port=1, cwd=tmp_path, pythonpath="", utilization=0.5, kv_gib=1)
    assert made.env["HIP_VISIBLE_DEVICES"] == made.env["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_row_without_the_attention_that_layers_begin_at_is_said() -> None:
    row: dict[str, Any] = {"moe": "shipped", "tokens": 4, "layers": 4, "names": ["flash"], "kernels": [[0, 0.0, 1.0]]}
    assert "no layer found: no kernel is called `kernel_unified_attention...`" in table([row])
