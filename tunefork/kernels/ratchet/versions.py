"""Counts under a Triton of any version: the installed one, or one that pip puts beside it for a child process alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.base.layout import user_cache
from tunefork.base.process import bound
from tunefork.base.waiting import ticking
from tunefork.kernels.ratchet.counts import Counts, counted, from_json
from tunefork.kernels.ratchet.record import Record, source_hash

Tell = Callable[[str, int], None]


def installed() -> str:
    """The version of the Triton in this process."""
    import triton

    return str(triton.__version__)


def take(arch: str, triton: str | None, *, only: Sequence[str] | None = None, workers: int | None = None, tell: Tell | None = None) -> Record:
    """Compile and count the rows of ``arch`` (those labelled in ``only``) under ``triton``; None: the installed one.

    tell: is given each row's label and how many are done.

    Errors: BadInput for a version that cannot be had.
    """
    if triton is None or triton == installed():
        rows: dict[str, Counts | str] = {}
        for label, found in counted(arch, only, workers=workers):
            rows[label] = found
            if tell:
                tell(label, len(rows))
        return Record(arch, installed(), source_hash(), rows)
    return _in_child(arch, triton, only, workers, tell)


def folder(triton: str) -> Path:
    """A folder with that version, fetched once. Errors: BadInput."""
    place = user_cache() / "triton" / triton
    if not (place / "triton" / "__init__.py").is_file():
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--upgrade",
                "--target", str(place), f"triton=={triton}"]  # fmt: skip
        with ticking(f"fetching triton {triton} into {place}"):
            done = subprocess.run(bound(argv), capture_output=True, text=True, check=False)
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "pip said nothing")
            raise BadInput(f"triton {triton} cannot be had here: {last}", "a version that pip finds for this Python, e.g. --triton 3.8.0")
    return place


def _in_child(arch: str, triton: str, only: Sequence[str] | None, workers: int | None, tell: Tell | None) -> Record:
    argv = [sys.executable, "-P", "-m", "tunefork.kernels.ratchet.child", arch, json.dumps(only), str(workers or 0)]
    environment = {**os.environ, "PYTHONPATH": str(folder(triton))}
    rows: dict[str, Counts | str] = {}
    with subprocess.Popen(bound(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None and child.stderr is not None
        for line in child.stdout:
            label, found = json.loads(line)
            rows[label] = from_json(found)
            if tell:
                tell(label, len(rows))
        said = child.stderr.read()
    if child.returncode:
        last = said.strip().splitlines()[-1] if said.strip() else f"exit code {child.returncode}"
        raise BadInput(f"triton {triton} cannot compile our kernels here: {last}", "python3 build.py -v kernels ratchet --triton VERSION")
    return Record(arch, triton, source_hash(), rows)
