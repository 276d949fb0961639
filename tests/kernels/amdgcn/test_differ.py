"""Two runs of the gate side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunefork.kernels.amdgcn.differ import main


def write(path: Path, **rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps([{"kernel": name, "config": "c", "ok": row.pop("ok", True), "measures": row} for name, row in rows.items()]))
    return path


def test_only_what_differs_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write(tmp_path / "old.json", a={"vgprs": 90, "modelled_cycles_per_weight_byte": 0.05}, b={"vgprs": 64, "spills": 0}, gone={})
    new = write(tmp_path / "new.json", a={"vgprs": 90, "modelled_cycles_per_weight_byte": 0.0505}, b={"vgprs": 70, "spills": 2, "ok": False})
    assert main(old, new) == 1
    said = capsys.readouterr().out
    assert "| b [c] | 64 -> 70 | 0 -> 2 |" in said and "yes -> no" in said and "a [c]" not in said
    assert "1 of 2 rows show the same facts; 1 are only in old.json, 0 only in new.json." in said


def test_modelled_cycles_count_beyond_two_percent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = (write(tmp_path / f"{name}.json", a={"modelled_cycles_per_weight_byte": value}) for name, value in (("o", 0.05), ("n", 0.06)))
    assert main(old, new) == 0
    assert "51.2 -> 61.4" in capsys.readouterr().out
