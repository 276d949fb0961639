"""Counts under a Triton of any version: the installed one, or one that pip puts beside it for a child process alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.base.layout import user_cache
from tunefork.base.mutex import locked
from tunefork.base.process import bound, quiet
from tunefork.base.waiting import ticking
from tunefork.kernels.ratchet.counts import Counts, counted, from_json
from tunefork.kernels.ratchet.record import Record, source_hash

Tell = Callable[[str, int], None]
VERSION = re.compile(r"\d+(\.\d+){0,3}[A-Za-z0-9.+]{0,40}")
WHOLE = ".tunefork-whole"


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
    """A folder with that version, fetched once: it has its name when it is whole. Errors: BadInput."""
    if not VERSION.fullmatch(triton):
        raise BadInput(f"{triton!r} is no version", "a version that pip finds for this Python, e.g. --triton 3.8.0")
    place = user_cache() / "triton" / triton
    if (place / WHOLE).is_file():
        return place
    with locked(place.with_name(f"{triton}.lock"), quiet, ""):
        if not (place / WHOLE).is_file():
            fetch(triton, place)
    return place


def fetch(triton: str, place: Path) -> None:
    """Let pip put that version into a folder beside, and give that its name. What a kill left half-made under the name goes."""
    with tempfile.TemporaryDirectory(prefix=f".{triton}-", dir=place.parent) as scratch:
        made = Path(scratch) / "made"
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--upgrade",
                "--target", str(made), f"triton=={triton}"]  # fmt: skip
        with ticking(f"fetching triton {triton} into {place}"):
            done = subprocess.run(bound(argv), capture_output=True, text=True, check=False)
        if done.returncode:
            last = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "pip said nothing")
            raise BadInput(f"triton {triton} cannot be had here: {last}", "a version that pip finds for this Python, e.g. --triton 3.8.0")
        (made / WHOLE).touch()
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)


def under(triton: str) -> dict[str, str]:
    """The environment of a process that is to have that version, fetched where it is not here. Errors: BadInput for one that cannot be had."""
    return {**os.environ, "PYTHONPATH": str(folder(triton))}


def command(triton: str, words: Sequence[str]) -> int:
    """The exit code of one of our commands in a process of its own, under that version; 128 and its number where a signal ended it, as a shell has it.

    Errors: BadInput for a version that cannot be had.
    """
    argv = [sys.executable, "-P", "-m", "tunefork.cli.main", *words]
    code = subprocess.run(bound(argv), env=under(triton), check=False).returncode
    return code if code >= 0 else 128 - code


def row_of(line: str) -> tuple[str, Counts | str] | None:
    """A row that the child printed; None for what another printed between: a library, a compiler."""
    try:
        label, found = json.loads(line)
        return str(label), from_json(found)
    except (ValueError, TypeError):
        return None


def _in_child(arch: str, triton: str, only: Sequence[str] | None, workers: int | None, tell: Tell | None) -> Record:
    argv = [sys.executable, "-P", "-m", "tunefork.kernels.ratchet.child", arch, json.dumps(only), str(workers or 0)]
    environment = under(triton)
    rows: dict[str, Counts | str] = {}
    # A file, not a pipe: Triton's compiler prints whole modules there, and would wait for whoever reads it.
    with tempfile.TemporaryFile() as errors, \
            subprocess.Popen(bound(argv), stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace", env=environment) as child:  # fmt: skip
        assert child.stdout is not None
        for line in child.stdout:
            if row := row_of(line):
                rows[row[0]] = row[1]
                if tell:
                    tell(row[0], len(rows))
        child.wait()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    if child.returncode:
        last = said.strip().splitlines()[-1] if said.strip() else f"exit code {child.returncode}"
        raise BadInput(f"triton {triton} cannot compile our kernels here: {last}", "python3 build.py -v kernels ratchet --triton VERSION")
    return Record(arch, triton, source_hash(), rows)
