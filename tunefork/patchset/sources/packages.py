"""Files of a package index, by hash, through pip: the user's index, proxy, certificates and find-links decide where from.

A file is kept as ``<into>/<sha256>/<its name>`` beside ``verified.json``, which says what size and date it had when its hash was
last computed: while those hold it is not hashed again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

from tunefork.base.errors import MissingTool, SourceError
from tunefork.base.files import replace_content
from tunefork.base.mutex import locked
from tunefork.base.process import Say, ask, bound, no_survivor
from tunefork.base.typed import typed
from tunefork.base.visible import visible

Kind = Literal["wheel", "sdist"]

RECORD = "verified.json"
PARTIAL = "partial-"
TAIL_LINES = 6

# pip prepares the metadata of every sdist that it downloads, which runs the upstream's build code (vLLM's setup.py imports torch).
# This stands in for setuptools in that step: it writes the name and version that we ask for, and none of the upstream's code runs.
STUB_BACKEND = '''\
from pathlib import Path

def get_requires_for_build_wheel(config_settings=None):
    return []

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = Path(metadata_directory) / "{stem}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return info.name
'''


def download(name: str, version: str, sha256: str, *, kind: Kind, into: Path, say: Say, options: Sequence[str] = ()) -> Path:
    """The path of one exact file, from the cache folder ``into`` or else through pip. sha256: 64 lower-case hex digits.

    options: further ones for `pip download`, such as the platform of a wheel that is for another Python than this one.

    SourceError when pip cannot get it, or gets another file than the hash says; nothing is kept then. Safe in several processes.
    """
    folder = into / sha256
    what = f"{name} {version} ({kind})"
    try:
        if (path := _kept(folder, sha256)) is not None:
            return path
        with locked(into / f"{sha256}.lock", say, f"{what}: another process is downloading it, waiting"):
            return _kept(folder, sha256) or _download(name, version, sha256, kind, folder, say, options)
    except OSError as error:
        raise disk_error(what, error) from error


def first_download(name: str, version: str, *, kind: Kind, into: Path, say: Say) -> tuple[Path, str]:
    """(path, sha256) of a file whose hash nobody has pinned yet: what the index serves the first time is trusted and remembered.

    A later call, and download() with that hash, take the remembered file. pip checks the hash that the index itself states. SourceError
    when pip cannot get it.
    """
    note = into / f"first-{name}-{version}-{kind}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = str(json.loads(note.read_text(encoding="ascii"))["sha256"])
        return download(name, version, known, kind=kind, into=into, say=say), known
    what = f"{name} {version} ({kind})"
    try:
        into.mkdir(parents=True, exist_ok=True)
        with locked(into / f"{note.stem}.lock", say, f"{what}: another process is downloading it, waiting"):
            with tempfile.TemporaryDirectory(prefix=f"{PARTIAL}first-", dir=into) as scratch:
                say(f"{what}: downloading through pip for the first time")
                path = _fetch(name, version, None, kind, Path(scratch))
                sha256 = _sha256(path)
                _record(path, sha256)
                if _kept(into / sha256, sha256) is None:
                    shutil.rmtree(into / sha256, ignore_errors=True)
                    path.parent.rename(into / sha256)
            say(f"{what}: sha256 {sha256}, trusted because it is the first: compare it with a second source before you commit it")
            note.write_text(json.dumps({"sha256": sha256}), encoding="ascii")
    except OSError as error:
        raise disk_error(what, error) from error
    return into / sha256 / path.name, sha256


def _download(name: str, version: str, sha256: str, kind: Kind, folder: Path, say: Say, options: Sequence[str] = ()) -> Path:
    """Fill one folder of the cache, under its lock, in one rename."""
    what = f"{name} {version} ({kind})"
    if folder.exists():
        say(f"{what}: the copy in {folder} is damaged, downloading it again")
        shutil.rmtree(folder)
    prefix = f"{PARTIAL}{sha256[:16]}-"
    for left in folder.parent.glob(f"{prefix}*"):  # of a process that was killed here
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        say(f"{what}: downloading through pip")
        path = _fetch(name, version, sha256, kind, scratch, options)
        if (came := _sha256(path)) != sha256:
            raise _mismatch(what, came, sha256)
        _record(path, sha256)
        path.parent.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder / path.name


def disk_error(what: str, error: OSError) -> SourceError:
    """What to tell the user when the cache cannot be written."""
    where = f" {error.filename}" if error.filename else ""
    return SourceError(f"{what}: cannot write{where}: {error.strerror or error}",
                       "free some space or repair the permissions, or set TUNEFORK_CACHE to a folder on another disk")


def available(name: str, version: str, kind: Kind, timeout: float) -> tuple[bool, str]:
    """Whether pip's index has a version, and a line that says so. timeout: seconds that pip may take. Downloads nothing."""
    argv = [*_pip(), "index", "versions", name, *_only(kind)]
    try:
        done = ask(argv, timeout=timeout)
    except subprocess.TimeoutExpired:
        return False, f"pip's index does not answer within {timeout:.0f} s"
    versions = re.findall(r"[0-9][\w.!+]*", done.stdout.partition("Available versions:")[2].partition("\n")[0])
    if version in versions:
        return True, f"pip's index has {name} {version}"
    if done.returncode == 0:
        return False, f"pip's index has {name}, but no {version}"
    return False, f"pip's index has no {name}, or does not answer: {' '.join(_last(done.stderr.splitlines(), 1))}"


def _kept(folder: Path, sha256: str) -> Path | None:
    """The file in a folder of the cache if it is whole."""
    try:
        path = next(path for path in folder.iterdir() if path.name != RECORD)
        found = path.stat()
        record = json.loads((folder / RECORD).read_text(encoding="ascii"))
    except (StopIteration, FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        record = {}
    if record == {"sha256": sha256, "size": found.st_size, "mtime_ns": found.st_mtime_ns}:
        return path
    if _sha256(path) != sha256:
        return None
    with contextlib.suppress(OSError):  # a cache that we may only read: its file is then hashed each time
        _record(path, sha256)
    return path


def _record(path: Path, sha256: str) -> None:
    """Note beside a file, once it is on the disk for good, that it was hashed as it is now."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    found = path.stat()
    note = {"sha256": sha256, "size": found.st_size, "mtime_ns": found.st_mtime_ns}
    # Made outside: whatever lies in a folder of the cache besides this note is taken for the download.
    # Made outside: whatever else lies in a folder of the cache is taken for the download.
    fresh = path.parent.parent / f".{path.parent.name}-{os.getpid()}-{os.urandom(4).hex()}.json"
    replace_content(path.parent / RECORD, json.dumps(note).encode("ascii"), fresh)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(name: str, version: str, sha256: str | None, kind: Kind, scratch: Path, options: Sequence[str] = ()) -> Path:
    """Have pip put the one file into a folder of its own below ``scratch``; its temporary files go there too. sha256: None for any."""
    got, temporary, requirements = scratch / "got", scratch / "tmp", scratch / "requirements.txt"
    got.mkdir()
    temporary.mkdir()
    pinned = f" --hash=sha256:{sha256}" if sha256 else ""
    requirements.write_text(f"{name}=={version}{pinned}\n", encoding="ascii")
    hashes = ["--require-hashes"] if sha256 else []
    argv = [*_pip(), "download", "--no-deps", *hashes, "-r", str(requirements), "--dest", str(got), *_only(kind), *options]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    if kind == "sdist":
        argv.append("--no-build-isolation")
        environment["PYTHONPATH"] = str(_stub(name, version, scratch))
    code, err = _watch(argv, environment)
    files = list(got.iterdir())
    if code == 0 and len(files) == 1:
        return files[0]
    raise _failure(f"{name} {version} ({kind})", sha256 or "nothing", err or [f"pip left {len(files)} files"])


def _pip() -> list[str]:
    return [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check"]


def _only(kind: Kind) -> list[str]:
    return ["--only-binary" if kind == "wheel" else "--no-binary", ":all:"]


def _stub(name: str, version: str, scratch: Path) -> Path:
    """An absolute folder for PYTHONPATH in which ``setuptools`` is STUB_BACKEND."""
    package = (scratch / "stub" / "setuptools").resolve()
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    stem = f"{re.sub(r'[-_.]+', '_', name)}-{version}"
    text = STUB_BACKEND.format(stem=stem, name=name, version=version)
    (package / "build_meta.py").write_text(text, encoding="ascii")
    return package.parent


def _watch(argv: Sequence[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run pip with its progress on the terminal, if there is one; its exit code and its error lines."""
    terminal = sys.stderr if sys.stderr.isatty() else None
    lines: list[str] = []
    with no_survivor(
        bound(argv),
        gently=False,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=terminal or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as child:
        assert child.stderr is not None
        reader = threading.Thread(target=_tee, args=(child.stderr, lines, terminal), daemon=True)
        reader.start()
        child.wait()
        reader.join(timeout=5)
    return child.returncode, lines


def _tee(source: IO[str], lines: list[str], terminal: IO[str] | None) -> None:
    """Collect pip's error lines; its warnings (retries of a slow network) show at once."""
    with contextlib.suppress(ValueError):  # closed by the waiter, who has been interrupted
        for line in source:
            lines.append(line.rstrip())
            if terminal is not None and line.startswith("WARNING"):
                terminal.write(visible(line))
                terminal.flush()


def _last(lines: Sequence[str], count: int) -> list[str]:
    return [line.strip() for line in lines if line.strip()][-count:]


def _failure(what: str, sha256: str, err: Sequence[str]) -> SourceError | MissingTool:
    text = "\n".join(err)
    if "No module named pip" in text:
        return MissingTool(f"{sys.executable} has no pip", f"{typed(sys.executable)} -m ensurepip")
    if came := re.search(r"Got\s+([0-9a-f]{64})", text):
        return _mismatch(what, came[1], sha256)
    shown = "".join(f"\n    {line}" for line in _last(err, TAIL_LINES))
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        if os.strerror(code) in text:
            return disk_error(what, OSError(code, os.strerror(code)))
    return SourceError(
        f"pip could not get {what}:{shown}",
        "pip's own configuration decides where it looks: `pip config list` shows it; PIP_INDEX_URL, PIP_FIND_LINKS and PIP_PROXY "
        "change it for one run",
    )


def _mismatch(what: str, came: str, sha256: str) -> SourceError:
    return SourceError(f"{what} from pip's index is not the pinned file: its sha256 is {came}, pins.toml says {sha256}",
                       "the index serves another file: use one that has the original, or find out why")
