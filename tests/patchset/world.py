"""A small upstream, a Tunefork root that pins it, and the plain git a user would type: the world that the manager's tests act in."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.patchset.checkout.apply import apply

USER = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A. User",
    "GIT_AUTHOR_EMAIL": "user@example.org",
    "GIT_COMMITTER_NAME": "A. User",
    "GIT_COMMITTER_EMAIL": "user@example.org",
    "GIT_EDITOR": "true",
}
TRAILERS = "Upstream-Status: Pending\nScope: python\nVerified-by: true\nUpstream-Tests: none a test\nExpected-gain: none, a test\nSigned-off-by: A. User <user@example.org>"


def git(directory: Path, *args: str, check: bool = True, stdin: bytes | None = None) -> str:
    """git as a user runs it."""
    done = subprocess.run(["git", *args], cwd=directory, env={**os.environ, **USER}, input=stdin, capture_output=True, check=False)
    assert not check or done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout.decode("utf-8", "replace").strip()


@dataclass
class World:
    """root: pins.toml, patches/, work/.  upstream: the git repository that pins.toml points to."""

    layout: Layout
    upstream: Path

    @property
    def root(self) -> Path:
        return self.layout.root

    @property
    def checkout(self) -> Path:
        return self.layout.checkout("up")

    @property
    def series(self) -> Path:
        return self.layout.series_dir("up")

    def commit(self, files: dict[str, bytes | None], subject: str = "[Up] Change", body: str = "Why.\n\n" + TRAILERS) -> str:
        """Write files (None deletes) in the checkout and commit them there, as a user would."""
        for name, data in files.items():
            path = self.checkout / name
            if data is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        git(self.checkout, "add", "--all", "--force", *files)
        git(self.checkout, "commit", "--quiet", "--allow-empty", "-m", f"{subject}\n\n{body}")
        return git(self.checkout, "rev-parse", "HEAD")

    def names(self) -> list[str]:
        lines = (self.series / "series").read_text().splitlines()
        return [line.removesuffix(".patch") for line in lines if line and not line.startswith("#")]

    def snapshot(self) -> dict[str, tuple[bytes, int]]:
        """Content and mtime of every file of the checkout outside .git."""
        return {
            str(path.relative_to(self.checkout)): (os.readlink(path).encode() if path.is_symlink() else path.read_bytes(), path.lstat().st_mtime_ns)
            for path in sorted(self.checkout.rglob("*"))
            if ".git" not in path.relative_to(self.checkout).parts and (path.is_symlink() or path.is_file())
        }


FILES = {
    "a.py": "".join(f"line {n}\n" for n in range(1, 61)).encode(),
    "b.py": b"def f():\n    return 1\n\n\ndef g():\n    return 2\n",
    "pkg/c.py": b"value = 3\n",
    "crlf.txt": b"one\r\ntwo\r\nthree\r\n",
    "latin.txt": "caf\xe9\nline\n".encode("latin-1"),
    "noeol.txt": b"no end of line",
    "run.sh": b"#!/bin/sh\necho hello\n",
    "blob.bin": bytes(range(256)) * 4,
    "empty": b"",
}


Templates = dict[tuple[object, ...], Path]
TEMPLATES: Templates = {}
"""Folders of this process: worlds that are copied, not made again."""


def make(folder: Path) -> World:
    """A fresh world: nothing is applied yet."""
    place(template((build,), build), folder)
    return World(Layout(folder / "root", folder / "cache"), folder / "upstream")


def filled(world: World, fill: Callable[[World], object], *key: object) -> None:
    """What ``fill`` makes of a world, in this one. Of a fresh world it is made once for each key, umask and environment of git, and copied after."""
    if not fresh(world):
        fill(world)
        return
    os.umask(umask := os.umask(0o022))
    around = sorted((name, value) for name, value in os.environ.items() if name.startswith(("GIT_", "XDG_", "LC_", "LANG", "HOME", "TZ")))
    folder = world.root.parent
    made = template((*key, umask, *around), lambda at: fill(build(at)))
    for name in ("root", "upstream"):
        shutil.rmtree(folder / name)
    place(made, folder)
    git(world.checkout, "update-index", "-q", "--refresh", check=False)  # the copies are other inodes


def applied(world: World) -> None:
    """The base, applied, where no test looks at how."""
    filled(world, lambda fresh_world: apply(fresh_world.layout, "up"), "applied")


def fresh(world: World) -> bool:
    """Whether nothing was done to a world since ``make``, where it would be replaced."""
    places = {"root": world.root, "cache": world.layout.cache, "upstream": world.upstream}
    if any(path != world.root.parent / name for name, path in places.items()) or world.layout.cache.exists():
        return False
    made = template((build,), build)
    return all(contents(world.root.parent, made, name) == contents(made, made, name) for name in ("root", "upstream"))


def contents(folder: Path, made: Path, name: str) -> dict[str, bytes]:
    """The files of a world's folder, as they would be in the template ``made``."""
    return {str(path.relative_to(folder)): path.read_bytes().replace(str(folder).encode(), str(made).encode())
            for path in (folder / name).rglob("*") if path.is_file()}


def template(key: tuple[object, ...], fill: Callable[[Path], object]) -> Path:
    """The folder that ``fill`` filled, once in this process."""
    if key not in TEMPLATES:
        folder = Path(tempfile.mkdtemp(prefix="world-")).resolve()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        fill(folder)
        TEMPLATES[key] = folder
    return TEMPLATES[key]


def place(made: Path, folder: Path) -> None:
    """Copy a world; the few files that say where it is say the new place."""
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)
    for name in ("root/pins.toml", "root/work/up/.git/config"):
        path = folder / name
        if path.is_file():
            path.write_text(path.read_text().replace(str(made), str(folder)))


def build(folder: Path) -> World:
    """The upstream and the root, with git."""
    upstream = folder / "upstream"
    upstream.mkdir(parents=True)
    git(upstream, "init", "--quiet", "--template=", "--initial-branch=main")
    for name, data in FILES.items():
        path = upstream / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git(upstream, "add", "--all")
    git(upstream, "commit", "--quiet", "-m", "Base")
    git(upstream, "tag", "v1")
    root = folder / "root"
    (root / "patches" / "up").mkdir(parents=True)
    (root / "pins.toml").write_text(
        f'[upstreams.up]\nurl = "file://{upstream}"\ntag = "v1"\ncommit = "{git(upstream, "rev-parse", "HEAD")}"\n'
        'version = "1.0"\nsubmodules = false\n'
    )
    (root / "patches" / "up" / "series").write_text("")
    return World(Layout(root, folder / "cache"), upstream)
