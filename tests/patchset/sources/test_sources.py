"""Sources: real git remotes on this machine, a made source distribution through the real pip, and everything that can go wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import os
import pickle
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tunefork.base.errors import SourceError, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.mutex import locked
from tunefork.patchset.git import Git
from tunefork.patchset.sources import mirror, pins, sdist, sources, transfer
from tunefork.patchset.sources.archive import UnsafeArchive
from tunefork.patchset.sources.pins import Pin, Sdist

ADDRESS = "https://git.invalid/demo.git"  # what the pin says; only the user's insteadOf makes it answer
# Path, executable, content: what git or a careless reader would change.
FILES = [
    ("README", False, b"demo\n"),
    ("crlf.txt", False, b"a\r\nb\r\n"),
    ("run.sh", True, b"#!/bin/sh\n"),
    (".gitignore", False, b"*.json\n*.egg-info/\n/demo/_version.py\n"),
    (".gitattributes", False, b"* text=auto eol=crlf ident\n*.txt export-ignore\n"),
    ("tuned.json", False, b"{}\n"),
    ("demo/empty.py", False, b""),
    ("demo/caf\udce9 \"x\".py", False, b"# $Id$\n"),
    ("demo/bin.co", True, bytes(range(256)) * 40),
]
ADDED = [("PKG-INFO", False, b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"), ("setup.cfg", False, b"[egg_info]\n"),
         ("demo.egg-info/SOURCES.txt", False, b"x\n"), ("demo/_version.py", False, b"v = 1\n")]  # fmt: skip
BUILD = [("pyproject.toml", False, b'[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n')]


def git(where: Path, *args: str, **more: str) -> str:
    """The plain git of the test's author: none of the code under test."""
    identity = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, **identity, **more}
    done = subprocess.run(["git", *args], cwd=where, env=environment, capture_output=True, check=True)
    return os.fsdecode(done.stdout).strip()


def write(folder: Path, files: list[tuple[str, bool, bytes]]) -> None:
    for name, executable, content in files:
        path = folder / os.fsdecode(name.encode("utf-8", "surrogateescape"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o755 if executable else 0o644)


def make_sdist(folder: Path, files: list[tuple[str, bool, bytes]]) -> Path:
    made = folder / "demo-1.0.tar.gz"
    with tarfile.open(made, "w:gz", encoding="utf-8", errors="surrogateescape", format=tarfile.GNU_FORMAT) as out:
        for name, executable, content in files:
            info = tarfile.TarInfo(f"demo-1.0/{name}")
            # The group may write, as on the machine that made vLLM's: git knows only the executable bit.
            info.size, info.mode, info.uid, info.mtime = len(content), 0o775 if executable else 0o664, 1234, 1_700_000_000
            out.addfile(info, io.BytesIO(content))
    return made


class World:
    """A remote with history, a package index with the same files, and a user's git configuration that maps ADDRESS to the remote."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.remote, self.index, self.config = tmp_path / "remote", tmp_path / "index", tmp_path / "gitconfig"
        self.remote.mkdir()
        self.index.mkdir()
        git(self.remote, "init", "-q", "-b", "main")
        # The remote has the files as they are, whatever their own .gitattributes would do to them.
        (self.remote / ".git/info/attributes").write_text("* -text -ident\n")
        write(self.remote, [("README", False, b"before\n"), ("old.bin", False, os.urandom(100_000))])
        self.save("before")
        git(self.remote, "rm", "-q", "old.bin")
        write(self.remote, FILES + BUILD)
        commit = self.save("release")
        git(self.remote, "tag", "-a", "-m", "one", "v1.0")
        write(self.remote, [("README", False, b"after\n")])
        self.save("after")
        self.map(self.remote)
        archive = make_sdist(self.index, FILES + BUILD + ADDED)
        self.layout = Layout(tmp_path, tmp_path / "cache")
        sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        added = ("PKG-INFO", "setup.cfg", "demo.egg-info", "demo/_version.py")
        root = self.root_commit(f"demo 1.0 (source distribution)\n\nsha256 {sha256}\n")
        self.pin = Pin("demo", ADDRESS, "v1.0", commit, "1.0", False, Sdist("demo", "1.0", sha256, root, added))
        self.said: list[str] = []

    def save(self, message: str) -> str:
        git(self.remote, "add", "-f", "-A")
        git(self.remote, "commit", "-q", "-m", message)
        return git(self.remote, "rev-parse", "HEAD")

    def root_commit(self, message: str) -> str:
        """What the source distribution must become, by git's own plumbing from the remote's tree."""
        date = "946684800 +0000"
        fixed = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
                 for what, value in (("NAME", "Tunefork"), ("EMAIL", "tunefork@localhost"), ("DATE", date))}  # fmt: skip
        (self.tmp_path / "message").write_text(message)
        return git(self.remote, "commit-tree", "-F", str(self.tmp_path / "message"), "v1.0^{tree}", **fixed)

    def map(self, remote: Path | None, more: str = "") -> None:
        mapping = f'[url "file://{remote}"]\n\tinsteadOf = {ADDRESS}\n' if remote else ""
        # 127.0.0.1:9 refuses at once: what an unreachable host looks like, without a name server.
        unreachable = '' if remote else f'[url "https://127.0.0.1:9/x"]\n\tinsteadOf = {ADDRESS}\n'
        self.config.write_text(mapping + unreachable + more)

    def obtain(self, kind: sources.Kind | None = None, **changes: object) -> sources.Source:
        return sources.obtain(dataclasses.replace(self.pin, **changes), self.layout, self.said.append, kind)  # type: ignore[arg-type]

    @property
    def git_dir(self) -> Path:
        return self.layout.cache / "git" / "demo.git"

    def check(self, source: sources.Source) -> None:
        """The source holds the remote's tree, guarded from gc, with no rubbish beside it."""
        assert source.commit == (self.pin.commit if source.kind == "git" else self.pin.sdist.commit)  # type: ignore[union-attr]
        assert git(source.git_dir, "rev-parse", f"{source.commit}^{{tree}}") == git(self.remote, "rev-parse", "v1.0^{tree}")
        git(source.git_dir, "gc", "-q", "--prune=now")
        git(source.git_dir, "fsck", "--full", "--strict")
        left = [path for pattern in mirror.RUBBISH for path in source.git_dir.glob(pattern)]
        assert left == []
        assert git(source.git_dir, "for-each-ref", mirror.INCOMING) == ""
        downloads = self.layout.cache / "downloads"
        assert not downloads.exists() or not list(downloads.glob("partial-*"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in [name for name in os.environ if name.startswith(("PIP_", "GIT_"))]:
        monkeypatch.delenv(name)
    made = World(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(made.config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.index))
    return made


def test_git_comes_first_with_one_commit_and_no_history(world: World) -> None:
    source = world.obtain()
    assert (source.kind, source.commit) == ("git", world.pin.commit)
    world.check(source)
    assert git(source.git_dir, "rev-list", "--count", source.commit) == "1"
    assert world.said == [f"demo: fetching commit {world.pin.commit[:12]} from {ADDRESS}"]


def test_a_second_time_costs_no_network_and_no_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.obtain()
    world.map(None)
    monkeypatch.setattr(sources, "locked", lambda *args: pytest.fail("it locked"))
    for name in ("_from_git", "_from_sdist"):
        monkeypatch.setattr(sources, name, lambda *args: pytest.fail("it fetched"))
    assert world.obtain() == first
    assert len(world.said) == 1


@pytest.mark.slow
def test_without_git_the_source_distribution_gives_the_same_tree(world: World) -> None:
    world.map(None)
    source = world.obtain()
    assert source.kind == "sdist"
    world.check(source)
    assert world.said[0].startswith("demo: git does not answer (")
    assert world.said[0].endswith("); taking the source distribution")
    assert world.obtain() == source


def test_a_remote_without_the_commit_and_the_tag_is_told_from_a_silent_one(world: World) -> None:
    git(world.remote, "tag", "-d", "v1.0")
    with pytest.raises(SourceError, match="git does not give out commit 333333333333 \\("):
        world.obtain("git", commit="3" * 40)


@pytest.mark.slow
def test_the_kind_obtained_last_is_remembered(world: World) -> None:
    assert world.obtain("sdist").kind == "sdist"
    assert world.obtain().kind == "sdist"
    assert world.obtain("git").kind == "git"
    assert world.obtain().kind == "git"
    assert world.obtain("sdist").kind == "sdist"
    assert world.obtain().kind == "sdist"
    world.check(world.obtain())


def test_a_forced_kind_does_not_fall_back(world: World) -> None:
    world.map(None)
    with pytest.raises(SourceError, match=r"no source of demo v1\.0 answers") as caught:
        world.obtain("git")
    assert "insteadOf" in caught.value.remedy
    with pytest.raises(SourceError, match="has no source distribution"):
        world.obtain("sdist", sdist=None)


@pytest.mark.slow
def test_when_nothing_answers_each_source_is_listed_with_its_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.map(None)
    monkeypatch.setenv("PIP_FIND_LINKS", str(world.tmp_path / "nothing"))
    with pytest.raises(SourceError) as caught:
        world.obtain()
    lines = caught.value.message.splitlines()
    assert lines[0] == "no source of demo v1.0 answers:"
    assert lines[1].startswith("    git does not answer (") and "127.0.0.1" in lines[1] and lines[1].endswith(f": {ADDRESS}")
    assert lines[2].startswith("    source distribution: pip could not get demo 1.0 (sdist)")
    assert "insteadOf" in caught.value.remedy and "pip config list" in caught.value.remedy
    ok, why = sources.reachable(world.pin, world.layout)
    assert not ok and "git: " in why and "pip's index has no demo" in why


@pytest.mark.slow
def test_reachable_says_which_source_would_answer(world: World) -> None:
    assert sources.reachable(world.pin, world.layout) == (True, f"git answers: {ADDRESS}")
    world.obtain("sdist")
    assert sources.reachable(world.pin, world.layout) == (True, "in the cache (sdist)")


def test_a_commit_that_the_remote_lacks_is_not_replaced_by_the_tag(world: World) -> None:
    absent = "1" * 40
    with pytest.raises(SourceError, match=f"tag v1.0 is commit {world.pin.commit}, pins.toml says {absent}"):
        world.obtain(commit=absent)
    assert not list(world.git_dir.glob("refs/tunefork/*/*"))


@pytest.mark.parametrize("digits", [9, 20])
def test_an_abbreviated_commit_is_found_by_its_tag_and_completed(world: World, digits: int) -> None:
    """No server gives out an abbreviation: the tag is fetched, must begin so, and what it is in full is said."""
    short = world.pin.commit[:digits]
    source = world.obtain(commit=short)
    world.check(source)
    assert any(world.pin.commit in line and "rebase demo --to v1.0" in line for line in world.said)
    world.said.clear()
    world.map(None)
    assert world.obtain(commit=short) == source and world.said == []  # from the cache


def test_an_abbreviated_commit_that_the_tag_does_not_begin_with_is_refused(world: World) -> None:
    with pytest.raises(SourceError, match="tag v1.0 is commit"):
        world.obtain(commit="0" * 9)


def test_the_commit_that_an_archive_names(tmp_path: Path) -> None:
    """As setuptools-scm writes it, and its declarations are not taken for it."""
    text = b"commit_id: str | None\n__commit_id__ = commit_id = 'g4ba787ec9'\n"
    assert sdist.named_commit(make_sdist(tmp_path, [("demo/_version.py", False, text)])) == "4ba787ec9"
    assert sdist.named_commit(make_sdist(tmp_path, ADDED)) == ""


def test_a_server_that_gives_out_only_tags_is_asked_for_the_tag(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.map(world.remote, "[protocol]\n\tversion = 0\n")
    git(world.remote, "config", "uploadpack.allowAnySHA1InWant", "false")
    asked: list[str] = []
    fetch = mirror.fetch

    def spy(git: Git, url: str, wanted: str) -> str | None:
        asked.append(wanted)
        return fetch(git, url, wanted)

    monkeypatch.setattr(mirror, "fetch", spy)
    world.check(world.obtain("git"))
    assert asked == [world.pin.commit, "refs/tags/v1.0"]


@pytest.mark.slow
def test_a_remote_that_never_answers_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        world.config.write_text(f'[url "http://127.0.0.1:{port}/x"]\n\tinsteadOf = {ADDRESS}\n')
        source = world.obtain()  # or the test's own time limit ends it
    assert source.kind == "sdist"
    assert world.said[0] == "demo: git does not answer (no answer within 1 s); taking the source distribution"


class Unauthorized(http.server.BaseHTTPRequestHandler):
    """Asks everybody for a password."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="x"')
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def locked_server() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unauthorized)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_remote_that_wants_a_password_is_no_reason_to_prompt(world: World, locked_server: int) -> None:
    world.config.write_text(f'[url "http://127.0.0.1:{locked_server}/x"]\n\tinsteadOf = {ADDRESS}\n')
    assert world.obtain().kind == "sdist"
    assert "terminal prompts disabled" in world.said[0]


@pytest.mark.slow
def test_a_hostile_configuration_changes_nothing_but_the_address(world: World) -> None:
    hooks = world.tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "post-commit"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {world.tmp_path}/hooked\nexit 1\n")
        (hooks / name).chmod(0o755)
    (world.tmp_path / "ignore").write_text("*\n")
    world.map(world.remote, f"""
[core]
    hooksPath = {hooks}
    autocrlf = true
    eol = crlf
    excludesFile = {world.tmp_path}/ignore
    fileMode = false
    compression = 0
[commit]
    gpgSign = true
[fetch]
    prune = true
    writeCommitGraph = true
    recurseSubmodules = true
[init]
    defaultBranch = odd
    templateDir = {hooks}
[transfer]
    unpackLimit = 100000
[i18n]
    commitEncoding = latin1
[user]
    name = Nobody
""")
    for kind in ("sdist", "git"):
        world.check(world.obtain(kind))  # type: ignore[arg-type]
    assert not (world.tmp_path / "hooked").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "sdist"])
def test_a_damaged_cache_is_mended(world: World, kind: sources.Kind) -> None:
    world.obtain(kind)
    (pack,) = world.git_dir.glob("objects/pack/*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-30])
    world.check(world.obtain(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "sdist"])
def test_a_cache_without_its_objects_is_filled_again(world: World, kind: sources.Kind) -> None:
    world.obtain(kind)
    for file in world.git_dir.glob("objects/pack/*"):
        file.unlink()
    world.check(world.obtain(kind))


def test_a_commit_without_one_of_its_files_is_not_whole(world: World) -> None:
    loose = world.tmp_path / "loose"
    git(world.tmp_path, "clone", "-q", "--no-local", str(world.remote), str(loose))
    pack = next(loose.glob(".git/objects/pack/*.pack"))
    moved = pack.rename(loose / "pack")
    subprocess.run(["git", "unpack-objects", "-q"], cwd=loose, stdin=moved.open("rb"), check=True)
    assert mirror.whole(Git(loose), world.pin.commit)
    blob = git(loose, "rev-parse", f"{world.pin.commit}:run.sh")
    (loose / ".git/objects" / blob[:2] / blob[2:]).unlink()
    assert not mirror.whole(Git(loose), world.pin.commit)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_commit_of_an_sdist_depends_on_nothing_of_the_machine(world: World, umask: int, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C", "TZ": "Asia/Tokyo", "PYTHONUTF8": "0",
                   "PYTHONCOERCECLOCALE": "0", "GIT_AUTHOR_NAME": "Eve", "GIT_COMMITTER_DATE": "1 +0100"}  # fmt: skip
    code = """
import os, sys
from pathlib import Path
from tunefork.patchset.sources import sdist, pins
from tunefork.patchset.git import Git
os.umask(int(sys.argv[1]))
there = Path(sys.argv[2])
there.mkdir()
Git(there)("init", "-q", "--bare", ".")
print(sdist.commit(Git(there), pins.Sdist("demo", "1.0", sys.argv[4], "", tuple(sys.argv[5:])), Path(sys.argv[3]), "refs/x"))
"""
    wanted = world.pin.sdist
    assert wanted is not None
    archive = world.index / "demo-1.0.tar.gz"
    argv = [sys.executable, "-c", code, str(umask), str(tmp_path / "there"), str(archive), wanted.sha256, *wanted.added]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted.commit


@pytest.mark.slow
def test_an_sdist_that_makes_another_commit_is_refused(world: World) -> None:
    wanted = world.pin.sdist
    assert wanted is not None
    with pytest.raises(SourceError, match=f"makes commit [0-9a-f]{{40}}, pins.toml says {wanted.commit}"):
        world.obtain("sdist", sdist=dataclasses.replace(wanted, added=wanted.added[1:]))
    with pytest.raises(SourceError, match=f"demo-1.0.tar.gz makes commit {wanted.commit}, pins.toml says {'2' * 40}"):
        world.obtain("sdist", sdist=dataclasses.replace(wanted, commit="2" * 40))


@pytest.mark.parametrize("name", [".git/config", "demo/.GIT/hooks/post-checkout", "../out"])
def test_an_sdist_with_an_entry_for_git_itself_is_refused(world: World, name: str) -> None:
    archive = make_sdist(world.tmp_path, [*FILES, (name, False, b"x")])
    there = world.tmp_path / "there"
    there.mkdir()
    git(there, "init", "-q", "--bare")
    wanted = world.pin.sdist
    assert wanted is not None
    with pytest.raises(UnsafeArchive):
        sdist.commit(Git(there), wanted, archive, "refs/x")
    assert git(there, "for-each-ref") == ""


# Obtains a source and kills its own process, as kill -9 does, when the named function is entered for the nth time.
DRIVER = """
import os, pickle, signal, sys
from tunefork.patchset import git
from tunefork.patchset.sources import archive, mirror, packages, sdist, sources, transfer
pin, layout, kind, point, nth = pickle.loads(bytes.fromhex(sys.argv[1]))
ours = {module.__file__ for module in (archive, git, mirror, packages, sdist, sources, transfer)}
count = 0
def watch(frame, event, arg):
    global count
    if event == "call" and frame.f_code.co_name == point and frame.f_code.co_filename in ours:
        count += 1
        if count == nth:
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(watch if point else None)
print(sources.obtain(pin, layout, lambda line: print(line, flush=True), kind))
"""


def drive(world: World, kind: str | None, point: str = "", nth: int = 1, **more: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", DRIVER, pickle.dumps((world.pin, world.layout, kind, point, nth)).hex()]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload,no-any-return]


GIT_STEPS = [("_obtain", 1), ("prepare", 1), ("run", 1), ("_from_git", 1), ("whole", 1), ("ask", 1), ("converse", 1), ("_finish", 1),
             ("fetch", 1), ("converse", 2), ("_finish", 2), ("text", 1), ("whole", 2), ("_keep", 1), ("__call__", 2), ("__call__", 3),
             ("__call__", 4)]  # fmt: skip
SDIST_STEPS = [("_from_sdist", 1), ("download", 1), ("_fetch", 1), ("_record", 1), ("commit", 1), ("_stream", 1), ("add", 1), ("add", 7),
               ("_quoted", 10), ("text", 1), ("_keep", 1), ("__call__", 3)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "point", "nth"), [("git", *step) for step in GIT_STEPS] + [("sdist", *step) for step in SDIST_STEPS])
def test_killed_at_any_step_the_next_run_recovers(world: World, kind: sources.Kind, point: str, nth: int) -> None:
    killed = drive(world, kind, point, nth)
    out, err = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL, out + err
    world.check(world.obtain(kind))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle_of_a_transfer_git_does_not_live_on(world: World, how: signal.Signals) -> None:
    # The remote's side never says a word, so that git waits for it when the process dies.
    slow = world.tmp_path / "slow"
    slow.write_text("#!/bin/sh\necho $$ > " + str(world.tmp_path / "pid") + "\nexec sleep 60\n")
    slow.chmod(0o755)
    pin, world.pin = world.pin, dataclasses.replace(world.pin, url=f"ext::{slow}")
    world.map(world.remote, "[protocol]\n\tallow = always\n")
    killed = drive(world, "git")
    while not (world.tmp_path / "pid").is_file() or not (world.tmp_path / "pid").read_text():
        time.sleep(0.02)
    group = int((world.tmp_path / "pid").read_text())
    children = [child.pid for child in psutil.Process(killed.pid).children()]
    assert children
    killed.send_signal(how)
    killed.communicate()
    psutil.wait_procs([psutil.Process(pid) for pid in children if psutil.pid_exists(pid)], timeout=5)
    assert not any(psutil.pid_exists(pid) for pid in children)
    if how == signal.SIGKILL:
        os.kill(group, signal.SIGKILL)  # the remote's side would notice when it next speaks
    else:
        assert not psutil.pid_exists(group) or psutil.Process(group).status() == psutil.STATUS_ZOMBIE
    world.pin = pin
    world.check(world.obtain("git"))


@pytest.mark.slow
def test_half_written_packs_and_stale_locks_are_removed(world: World) -> None:
    world.obtain("git")
    names = ("objects/pack/tmp_pack_x", "objects/pack/tmp_idx_x", "objects/ab/tmp_obj_x", "objects/tmp_objdir-x/pack/y", "shallow.lock",
                 "HEAD.lock", "packed-refs.lock", "refs/tunefork/incoming.lock", "fast_import_crash_1")  # fmt: skip
    for name in names:
        path = world.git_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    source = world.obtain("sdist")
    assert [name for name in names if (world.git_dir / name).exists()] == []
    world.check(source)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "sdist"])
def test_of_two_at_once_one_fetches(world: World, kind: str) -> None:
    both = [drive(world, kind) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    said = "".join(out for out, _ in outputs)
    assert said.count("fetching commit" if kind == "git" else "making a commit") == 1
    world.check(world.obtain())


@pytest.mark.slow
def test_waiting_for_another_process_is_said(world: World) -> None:
    with locked(world.layout.cache / "locks" / "demo.lock", print, ""):
        waiting = drive(world, "git")
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "demo: another process is fetching it, waiting\n"
        assert waiting.poll() is None
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """The cache on a disk of 200 KB. It needs the right to mount."""
    if shutil.which("mount") is None:
        pytest.skip("NOT TESTED: no mount on PATH")
    world.layout.cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(world.layout.cache)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here ({done.stderr.strip()}); the test with a limit on file size covers part of it")
    yield world.layout.cache
    subprocess.run(["umount", str(world.layout.cache)], check=True)


BIG = [("big.bin", False, os.urandom(400_000))]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "sdist"])
def test_a_full_disk_is_said_and_nothing_of_it_is_trusted(world: World, small_disk: Path, kind: sources.Kind) -> None:
    grown = grow(world)
    with pytest.raises(SourceError, match="No space left on device") as caught:
        sources.obtain(grown, world.layout, world.said.append, kind)
    assert "TUNEFORK_CACHE" in caught.value.remedy
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    world.pin = grown
    world.check(world.obtain(kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "sdist"])
def test_a_limit_on_file_size_leaves_nothing_that_is_trusted(world: World, kind: sources.Kind) -> None:
    world.pin = grow(world)
    full = drive(world, kind, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    _, err = full.communicate(timeout=60)
    assert full.returncode == 1 and "SourceError" in err, err
    world.check(world.obtain(kind))


def grow(world: World) -> Pin:
    """The pin of a remote and an sdist that have a big file too."""
    write(world.remote, BIG)
    git(world.remote, "checkout", "-q", "v1.0")
    write(world.remote, BIG)
    commit = world.save("big")
    git(world.remote, "tag", "-f", "-a", "-m", "two", "v1.0")
    sha256 = hashlib.sha256(make_sdist(world.index, FILES + BUILD + BIG + ADDED).read_bytes()).hexdigest()
    root = world.root_commit(f"demo 1.0 (source distribution)\n\nsha256 {sha256}\n")
    assert world.pin.sdist is not None
    return dataclasses.replace(world.pin, commit=commit, sdist=dataclasses.replace(world.pin.sdist, sha256=sha256, commit=root))


@pytest.mark.slow
def test_a_submodule_is_fetched_when_asked_for_and_shared(world: World) -> None:
    part = world.tmp_path / "part"
    part.mkdir()
    git(part, "init", "-q", "-b", "main")
    write(part, [("kernel.hpp", False, b"// ck\n"), ("gen.sh", True, b"#!/bin/sh\n")])
    git(part, "add", "-A")
    git(part, "commit", "-q", "-m", "part")
    pinned = git(part, "rev-parse", "HEAD")
    write(part, [("kernel.hpp", False, b"// newer\n")])
    git(part, "commit", "-q", "-am", "newer")
    address = "https://git.invalid/part.git"
    with world.config.open("a") as config:
        config.write(f'[url "file://{part}"]\n\tinsteadOf = {address}\n')
    git(world.remote, "config", "-f", ".gitmodules", "submodule.3rdparty/part.path", "3rdparty/part")
    git(world.remote, "config", "-f", ".gitmodules", "submodule.3rdparty/part.url", address)
    git(world.remote, "add", ".gitmodules")
    git(world.remote, "update-index", "--add", "--cacheinfo", f"160000,{pinned},3rdparty/part")
    git(world.remote, "commit", "-q", "-m", "with a part")
    checkouts = [world.tmp_path / name for name in ("one", "two")]
    for checkout in checkouts:
        git(world.tmp_path, "clone", "-q", str(world.remote), str(checkout))
        assert sources.submodules(world.pin, checkout, world.said.append, layout=world.layout) == [checkout / "3rdparty/part"]
        assert (checkout / "3rdparty/part/kernel.hpp").read_bytes() == b"// ck\n"
        assert git(checkout, "status", "--porcelain") == ""
    assert sum("fetching" in line for line in world.said) == 1
    # A killed placement is finished, a finished one is left alone, edits included.
    placed = checkouts[0] / "3rdparty/part"
    Path(git(placed, "rev-parse", "--absolute-git-dir"), "tunefork-placed").unlink()
    (placed / "gen.sh").unlink()
    world.map(None)
    sources.submodules(world.pin, checkouts[0], world.said.append, layout=world.layout)
    assert (placed / "gen.sh").stat().st_mode & 0o100
    (placed / "kernel.hpp").write_text("mine\n")
    before = (placed / "gen.sh").stat().st_mtime_ns
    sources.submodules(world.pin, checkouts[0], world.said.append, layout=world.layout)
    assert (placed / "kernel.hpp").read_text() == "mine\n" and (placed / "gen.sh").stat().st_mtime_ns == before
    foreign = world.tmp_path / "three"
    git(world.tmp_path, "clone", "-q", str(world.remote), str(foreign))
    write(foreign / "3rdparty/part", [("mine.txt", False, b"mine\n")])
    with pytest.raises(WorkAtRisk, match="files of its own"):
        sources.submodules(world.pin, foreign, world.said.append, layout=world.layout)


@pytest.mark.aiter
def test_the_real_aiter_is_its_commit(tmp_path: Path) -> None:
    layout = Layout(Layout.here().root, Layout.here().cache)
    pin = pins.load(layout)["aiter"]
    ok, why = sources.reachable(pin, layout)
    if not ok:
        pytest.skip(f"AITER is out of reach: {why}")
    source = sources.obtain(pin, layout, print)
    assert git(source.git_dir, "rev-parse", f"{source.commit}^{{commit}}") == pin.commit


@pytest.mark.parametrize(("said", "shown"), [(b"Receiving: 50%\rReceiving: 100%\n", b"Receiving: 50%\rReceiving: 100%\n"), (b"remote: \x1b]2;title\x07\x1b[31mred", b"remote: \\x1b]2;title\\x07\\x1b[31mred"),
                                           ("é\x9b2J".encode(), "é\\x9b2J".encode()), (b"\xff\x9b", b"\\xff\\x9b")])  # fmt: skip
def test_a_remote_does_not_steer_the_terminal(said: bytes, shown: bytes) -> None:
    assert transfer.shown(said) == shown
