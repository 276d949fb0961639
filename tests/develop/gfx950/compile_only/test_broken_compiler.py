"""A compiler that is there and does not run: one line, and what it says to type has the compiler fetched anew."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from project import ROOT

from tunefork.base.errors import BuildError
from tunefork.base.layout import Layout
from tunefork.base.process import quiet
from tunefork.develop.gfx950.compile_only import parts, toolchain
from tunefork.develop.machine import probe

pytest.importorskip("torch", reason="NOT TESTED: needs torch")
BROKEN = [(b"half an archive", 0o755), (b"\x7fELF of another machine", 0o755), (b"#!/bin/sh\n", 0o644), (b"#!/bin/sh\necho no libLLVM.so >&2\nexit 127\n", 0o755)]


@pytest.mark.parametrize(("data", "mode"), BROKEN)
def test_a_fetched_one_goes_by_the_command_that_is_printed(data: bytes, mode: int, tmp_path: Path) -> None:
    (tmp_path / "pins.toml").write_bytes((ROOT / "pins.toml").read_bytes())
    (tmp_path / "patches").mkdir()
    layout = Layout(tmp_path, tmp_path / "my cache")
    zig = parts.folder(layout) / "bin" / "zig"
    zig.parent.mkdir(parents=True)
    zig.write_bytes(data)
    zig.chmod(mode)
    machine = dataclasses.replace(probe(tmp_path), rocm_home=None)
    with pytest.raises(BuildError, match="my cache/.*/zig' clang --version` does not run: ") as caught:
        toolchain.find(layout, machine, quiet)
    printed = re.search(r"`(rm -r .*)`", caught.value.remedy)
    assert printed is not None
    subprocess.run(shlex.split(printed[1]), check=True)
    assert not parts.folder(layout).exists() and parts.folder(layout).parent.exists()


@pytest.mark.parametrize(("data", "mode"), BROKEN)
def test_a_rocms_is_told_by_its_path(data: bytes, mode: int, tmp_path: Path) -> None:
    clang = tmp_path / toolchain.ROCM_CLANG[0]
    clang.parent.mkdir(parents=True)
    clang.write_bytes(data)
    clang.chmod(mode)
    machine = dataclasses.replace(probe(tmp_path), rocm_home=tmp_path, rocm="7.0.0")
    with pytest.raises(BuildError, match=f"`{re.escape(str(clang))} --version` does not run: "):
        toolchain.find(Layout(tmp_path, tmp_path / "cache"), machine, quiet)


@pytest.mark.parametrize("noexec", [True, False])
def test_a_file_system_that_runs_no_program_is_said(noexec: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching 300 MB anew onto it, as was printed, ended the same way: typed on a tmpfs that was mounted noexec, and on one that was not."""
    layout = Layout(tmp_path, tmp_path / "cache")
    zig = parts.folder(layout) / "bin" / "zig"
    zig.parent.mkdir(parents=True)
    zig.write_bytes(b"#!/bin/sh\n")
    zig.chmod(0o644)  # as it is there: it may not be started
    monkeypatch.setattr(parts.os, "statvfs", lambda _path: SimpleNamespace(f_flag=os.ST_NOEXEC if noexec else 0))
    helps = r"mounted noexec: set TUNEFORK_CACHE to a folder on another" if noexec else r"`python3 build\.py clean --cache`|`rm -r "
    with pytest.raises(BuildError, match="did not assemble opencl.bc: Permission denied") as caught:
        parts.bitcode(parts.folder(layout), "opencl", ())
    assert re.search(helps, caught.value.remedy)
    with pytest.raises(BuildError, match="does not run: Permission denied") as caught:
        toolchain.find(layout, dataclasses.replace(probe(tmp_path), rocm_home=None), quiet)
    assert re.search(helps, caught.value.remedy)
