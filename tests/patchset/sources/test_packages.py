"""Downloads through the real pip, from an index on this machine that pip's own configuration names."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunefork.base.errors import MissingTool, SourceError
from tunefork.patchset.sources import packages

VERSION = "1.0"
# Build code that leaves a trace if it ever runs.
POISON = "import pathlib, sys\npathlib.Path({trace!r}).write_text('ran')\nsys.exit('the build code of the upstream ran')\n"


def make_sdist(folder: Path, trace: Path, size: int = 50_000) -> Path:
    """A source distribution ``demo-pkg`` whose setup.py must not run."""
    made = folder / f"demo_pkg-{VERSION}.tar.gz"
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = ["setuptools>=900"]\nbuild-backend = "setuptools.build_meta"\n',
        "setup.py": POISON.format(trace=str(trace)),
        "data.bin": os.urandom(size).hex(),
    }
    with tarfile.open(made, "w:gz") as out:
        for name, text in files.items():
            info = tarfile.TarInfo(f"demo_pkg-{VERSION}/{name}")
            info.size = len(text)
            out.addfile(info, io.BytesIO(text.encode()))
    return made


def make_wheel(folder: Path) -> Path:
    made = folder / f"demo_pkg-{VERSION}-py3-none-any.whl"
    info = f"demo_pkg-{VERSION}.dist-info"
    with zipfile.ZipFile(made, "w") as out:
        out.writestr("demo_pkg.py", "x = 1\n")
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: demo-pkg\nVersion: {VERSION}\n")
        out.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        out.writestr(f"{info}/RECORD", "")
    return made


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that is all pip knows of, by its environment."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


def get(sha256: str, tmp_path: Path, said: list[str], kind: packages.Kind = "wheel", name: str = "demo-pkg") -> Path:
    return packages.download(name, VERSION, sha256, kind=kind, into=tmp_path / "cache", say=said.append)


def rubbish(tmp_path: Path) -> list[str]:
    """What is in the cache besides whole files and lock files."""
    return [path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock" and not (path / packages.RECORD).is_file()]


@pytest.mark.slow
def test_a_wheel_comes_once_and_then_costs_neither_pip_nor_a_hash(
    index: Path, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_wheel(index)
    path = get(sha(made), tmp_path, said)
    assert path.name == made.name and path.read_bytes() == made.read_bytes()
    assert said == ["demo-pkg 1.0 (wheel): downloading through pip"]
    assert rubbish(tmp_path) == []
    monkeypatch.setattr(packages, "_fetch", lambda *args: pytest.fail("pip ran again"))
    monkeypatch.setattr(packages, "_sha256", lambda *args: pytest.fail("the file was hashed again"))
    assert get(sha(made), tmp_path, said) == path
    assert len(said) == 1


@pytest.mark.slow
def test_none_of_an_sdists_code_runs(index: Path, tmp_path: Path, said: list[str]) -> None:
    made = make_sdist(index, tmp_path / "trace")
    path = get(sha(made), tmp_path, said, "sdist")
    assert path.read_bytes() == made.read_bytes()
    assert not (tmp_path / "trace").exists()


def test_the_poison_works(index: Path, tmp_path: Path) -> None:
    # Without it the test above could not fail.
    made = make_sdist(index, tmp_path / "trace")
    with tarfile.open(made) as tar:
        setup = tar.extractfile(f"demo_pkg-{VERSION}/setup.py")
        assert setup is not None
        assert subprocess.run([sys.executable, "-"], input=setup.read(), capture_output=True, check=False).returncode
    assert (tmp_path / "trace").read_text() == "ran"


@pytest.mark.slow
def test_another_file_under_the_same_name_is_refused(index: Path, tmp_path: Path, said: list[str]) -> None:
    made = make_wheel(index)
    with pytest.raises(SourceError, match="not the pinned file") as caught:
        get("0" * 64, tmp_path, said)
    assert sha(made) in caught.value.message and "0" * 64 in caught.value.message
    assert "\n" not in caught.value.message
    assert rubbish(tmp_path) == []


def test_a_wrong_file_is_refused_even_if_pip_lets_it_pass(
    index: Path, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_wheel(index)

    def lenient(name: str, version: str, sha256: str, kind: str, scratch: Path, _options: object) -> Path:
        (scratch / "got").mkdir()
        (scratch / "got" / made.name).write_bytes(made.read_bytes() + b"!")
        return scratch / "got" / made.name

    monkeypatch.setattr(packages, "_fetch", lenient)
    with pytest.raises(SourceError, match="not the pinned file"):
        get(sha(made), tmp_path, said)
    assert rubbish(tmp_path) == []


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def damage_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [damage_truncate, damage_flip, lambda path: path.unlink()])
def test_a_damaged_cache_is_downloaded_again(index: Path, tmp_path: Path, said: list[str], harm: Callable[[Path], None]) -> None:
    made = make_wheel(index)
    path = get(sha(made), tmp_path, said)
    harm(path)
    assert get(sha(made), tmp_path, said).read_bytes() == made.read_bytes()
    assert "is damaged, downloading it again" in said[1]


@pytest.mark.slow
@pytest.mark.parametrize("record", [None, "", "{", json.dumps({"sha256": "0" * 64, "size": 1, "mtime_ns": 1})])
def test_a_touched_file_is_hashed_again_and_kept(
    index: Path, tmp_path: Path, said: list[str], record: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_wheel(index)
    path = get(sha(made), tmp_path, said)
    os.utime(path, (1, 1))
    if record is not None:
        (path.parent / packages.RECORD).write_text(record)
    monkeypatch.setattr(packages, "_fetch", lambda *args: pytest.fail("pip ran again"))
    assert get(sha(made), tmp_path, said) == path
    monkeypatch.setattr(packages, "_sha256", lambda *args: pytest.fail("the record was not renewed"))
    assert get(sha(made), tmp_path, said) == path


@pytest.mark.slow
def test_a_file_that_no_index_has_is_said_with_pips_words(index: Path, tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(SourceError, match=r"pip could not get demo-pkg 1\.0 \(wheel\)") as caught:
        get("0" * 64, tmp_path, said)
    assert "No matching distribution found for demo-pkg==1.0" in caught.value.message
    assert "pip config list" in caught.value.remedy


@pytest.mark.slow
def test_an_index_out_of_reach_is_said(index: Path, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(SourceError, match="pip could not get demo-pkg"):
        get("0" * 64, tmp_path, said)
    ok, line = packages.available("demo-pkg", VERSION, "wheel", 20)
    assert not ok and "does not answer" in line


@pytest.mark.slow
def test_a_python_without_pip_is_said(index: Path, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(MissingTool, match="has no pip") as caught:
        get("0" * 64, tmp_path, said)
    subprocess.run(shlex.split(caught.value.remedy), check=True, capture_output=True)  # typed as printed: pip runs, and says itself what it lacks
    with pytest.raises(SourceError, match="pip could not get"):
        get("0" * 64, tmp_path, said)


class Index(http.server.SimpleHTTPRequestHandler):
    """A simple index over HTTP; ``cut`` answers to file requests stop half-way through."""

    cut = 0
    asked: list[str] = []  # noqa: RUF012 - shared by the requests on purpose

    def do_GET(self) -> None:
        Index.asked.append(self.path)
        if not self.path.startswith("/simple/") and Index.cut:
            Index.cut -= 1
            content = (Path(self.directory) / self.path.lstrip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The index over HTTP, as PIP_INDEX_URL."""
    Index.cut, Index.asked = 0, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Index(*args, directory=str(index)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield index
    server.shutdown()
    server.server_close()


def publish(index: Path, *files: Path) -> None:
    page = index / "simple" / "demo-pkg"
    page.mkdir(parents=True)
    links = "".join(f'<a href="/{path.name}">{path.name}</a>' for path in files)
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


@pytest.mark.slow
def test_the_users_index_is_the_one_that_is_asked(served: Path, tmp_path: Path, said: list[str]) -> None:
    wheel, sdist = make_wheel(served), make_sdist(served, tmp_path / "trace")
    publish(served, wheel, sdist)
    assert get(sha(wheel), tmp_path, said, "wheel").name == wheel.name
    assert get(sha(sdist), tmp_path, said, "sdist").name == sdist.name
    assert "/simple/demo-pkg/" in Index.asked
    assert packages.available("demo-pkg", VERSION, "sdist", 20) == (True, "pip's index has demo-pkg 1.0")
    assert packages.available("demo-pkg", "2.0", "sdist", 20) == (False, "pip's index has demo-pkg, but no 2.0")


@pytest.mark.slow
def test_a_download_cut_short_leaves_nothing_and_the_next_one_succeeds(served: Path, tmp_path: Path, said: list[str]) -> None:
    made = make_sdist(served, tmp_path / "trace", size=200_000)
    publish(served, made)
    Index.cut = 1
    with pytest.raises(SourceError):
        get(sha(made), tmp_path, said, "sdist")
    assert rubbish(tmp_path) == []
    assert get(sha(made), tmp_path, said, "sdist").read_bytes() == made.read_bytes()


# Runs a download and kills its own process, as kill -9 does, when the named function is entered.
DRIVER = """
import os, signal, sys
from pathlib import Path
from tunefork.patchset.sources import packages
sha256, into, point = sys.argv[1:]
def watch(frame, event, arg):
    if event == "call" and frame.f_code.co_name == point and frame.f_code.co_filename == packages.__file__:
        os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(watch if point else None)
print(packages.download("demo-pkg", "1.0", sha256, kind="sdist", into=Path(into), say=lambda line: print(line, flush=True)))
"""


def drive(sha256: str, tmp_path: Path, point: str = "", **more: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", DRIVER, sha256, str(tmp_path / "cache"), point]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload,no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["_download", "_fetch", "_watch", "_sha256", "_record"])
def test_killed_at_any_step_the_next_run_recovers(index: Path, tmp_path: Path, said: list[str], point: str) -> None:
    made = make_sdist(index, tmp_path / "trace")
    killed = drive(sha(made), tmp_path, point)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert get(sha(made), tmp_path, said, "sdist").read_bytes() == made.read_bytes()
    assert rubbish(tmp_path) == []


@pytest.mark.slow
def test_killed_while_pip_downloads_the_next_run_recovers(served: Path, tmp_path: Path, said: list[str]) -> None:
    made = make_sdist(served, tmp_path / "trace")
    publish(served, made)
    killed = drive(sha(made), tmp_path)
    assert killed.stdout is not None
    killed.stdout.readline()
    while not Index.asked:
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert get(sha(made), tmp_path, said, "sdist").read_bytes() == made.read_bytes()
    assert rubbish(tmp_path) == []


@pytest.mark.slow
def test_of_two_at_once_one_downloads(index: Path, tmp_path: Path) -> None:
    made = make_sdist(index, tmp_path / "trace")
    both = [drive(sha(made), tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    together = "".join(out for out, _ in outputs)
    assert together.count("downloading through pip") == 1
    assert together.count("another process is downloading it, waiting") <= 1
    assert rubbish(tmp_path) == []


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_of_it_is_trusted(index: Path, tmp_path: Path, said: list[str]) -> None:
    made = make_sdist(index, tmp_path / "trace", size=400_000)
    # A limit on file size gives the same errors as a full disk, also where nothing may be mounted.
    full = drive(sha(made), tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    _, err = full.communicate(timeout=60)
    assert full.returncode == 1
    assert "SourceError: demo-pkg 1.0 (sdist): cannot write" in err and "File too large" in err
    assert rubbish(tmp_path) == []
    assert get(sha(made), tmp_path, said, "sdist").read_bytes() == made.read_bytes()


def test_a_cache_that_cannot_be_written_is_said(index: Path, tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(SourceError, match="cannot write") as caught:
        get("0" * 64, tmp_path, said)
    assert "TUNEFORK_CACHE" in caught.value.remedy
