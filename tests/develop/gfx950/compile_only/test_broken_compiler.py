"""A compiler that is there and does not run: one line, and what it says to type has the compiler fetched anew."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
from project import ROOT

from tunefork.base.errors import BuildError
from tunefork.base.layout import Layout
from tunefork.base.process import quiet
from tunefork.cli.main import main
from tunefork.develop.gfx950.compile_only import parts, toolchain
from tunefork.develop.machine import probe

pytest.importorskip("torch", reason="NOT TESTED: needs torch")
BROKEN = [(b"half an archive", 0o755), (b"\x7fELF of another machine", 0o755), (b"#!/bin/sh\n", 0o644), (b"#!/bin/sh\necho no libLLVM.so >&2\nexit 127\n", 0o755)]


@pytest.mark.parametrize(("data", "mode"), BROKEN)
def test_a_fetched_one_goes_by_the_command_that_is_printed(data: bytes, mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pins.toml").write_bytes((ROOT / "pins.toml").read_bytes())
    (tmp_path / "patches").mkdir()
    layout = Layout(tmp_path, tmp_path / "cache")
    monkeypatch.setenv("TUNEFORK_ROOT", str(layout.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(layout.cache))
    zig = parts.folder(layout) / "bin" / "zig"
    zig.parent.mkdir(parents=True)
    zig.write_bytes(data)
    zig.chmod(mode)
    machine = dataclasses.replace(probe(tmp_path), rocm_home=None)
    with pytest.raises(BuildError, match="clang --version` does not run: ") as caught:
        toolchain.find(layout, machine, quiet)
    printed = re.search(r"`python3 build\.py (clean --cache)`", caught.value.remedy)
    assert printed is not None and main(shlex.split(printed[1])) == 0
    assert not parts.folder(layout).exists()


@pytest.mark.parametrize(("data", "mode"), BROKEN)
def test_a_rocms_is_told_by_its_path(data: bytes, mode: int, tmp_path: Path) -> None:
    clang = tmp_path / toolchain.ROCM_CLANG[0]
    clang.parent.mkdir(parents=True)
    clang.write_bytes(data)
    clang.chmod(mode)
    machine = dataclasses.replace(probe(tmp_path), rocm_home=tmp_path, rocm="7.0.0")
    with pytest.raises(BuildError, match=f"`{re.escape(str(clang))} --version` does not run: "):
        toolchain.find(Layout(tmp_path, tmp_path / "cache"), machine, quiet)
