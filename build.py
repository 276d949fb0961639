#!/usr/bin/env python3
"""Tunefork's one command. With bare Python it first makes its own environment, then it runs the command there.

    python3 build.py apply && python3 build.py develop    fetch, patch, build and install vLLM (and AITER)
    python3 build.py serve --profile smoke                a server that answers
    python3 build.py test                                 the tests
    python3 build.py --help                               everything else

`--no-venv` (first argument) uses the running interpreter as it is. The environment is `.venv` in this folder; delete it and the
next call makes it again. Exit codes: docs/commands.md.
"""

import os
import sys

# os.path, not pathlib: this file runs twice before every command, and pathlib would be half of what the first run imports.
ROOT = os.path.dirname(os.path.realpath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
MARK, BEGUN = os.path.join(VENV, "tunefork-ready"), os.path.join(VENV, "tunefork-begun")


def rocm_torch() -> bool:
    """Whether the running interpreter has a torch built for ROCm (read from its version file, which costs no import)."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    version = Path(spec.origin).with_name("version.py")
    return version.is_file() and any(
        line.startswith("hip") and "None" not in line for line in version.read_text().splitlines()
    )


def ready_mark() -> str:
    """What the environment must have been made from: this folder and this pyproject.toml."""
    return f"{ROOT}\n" + text(os.path.join(ROOT, "pyproject.toml"))


def text(file: str) -> str:
    """A file's text; "" where there is none."""
    try:
        with open(file, encoding="utf-8") as lines:
            return lines.read()
    except OSError:
        return ""


def step(line: str, argv: "list[str]", held: int, why: "list[str] | None" = None) -> None:
    """Say a step in one line and run it; its output is shown only when it fails, its last line also on a terminal. OSError on a full disk.

    held: the lock, which the step holds too: where this process is killed, the next one waits for the end of pip.
    why: what a step that failed did last, of which it does not pass on what was said.
    """
    import errno
    import shlex
    import subprocess
    import time

    print(line, file=sys.stderr, flush=True)
    began, said = time.monotonic(), []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", pass_fds=(held,)) as done:
        assert done.stdout is not None
        for word in done.stdout:
            said.append(word)
            if sys.stderr.isatty():
                seen = "".join(each if each.isprintable() else "?" for each in word.strip()[:68])
                print(f"\r\033[K  {time.monotonic() - began:.0f} s: {seen}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    if done.returncode:
        if why and os.path.exists(why[0]):
            said.append(subprocess.run(why, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False).stdout)
        for code in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(code) in "".join(said):
                raise OSError(code, os.strerror(code))
        print("".join(said)[-4000:], file=sys.stderr)
        sys.exit(f"error: `{shlex.join(argv)}` ended with exit code {done.returncode}\n  try: fix what it says above, "
                 f"then run the same command again; `rm -rf {shlex.quote(VENV)}` starts over")


def ready() -> bool:
    """Whether .venv was made to its end, from this pyproject.toml, and still has its interpreter: that is a link to one of the machine's."""
    return text(MARK) == ready_mark() and os.access(PYTHON, os.X_OK)


def bootstrap() -> None:
    """Make .venv and install the project there, editable; a mark tells a finished environment from a broken one."""
    if ready():
        return
    try:
        held = alone()
        if not ready():  # else: another process made it meanwhile
            make(held)
        os.close(held)
    except OSError as error:
        unwritable(error)


def alone() -> int:
    """Hold .venv's folder, so that no two processes fill it; the handle, whose lock goes with the last process that has it."""
    import fcntl

    os.makedirs(VENV, exist_ok=True)
    held = os.open(VENV, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another process is making {VENV}; waiting for it", file=sys.stderr, flush=True)
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError:  # NFS locks no folder
        pass
    return held


def make(held: int) -> None:
    """The steps; the mark comes last."""
    foreign()
    open(MARK, "w").close()  # what is there is not to be believed from here on; and it says whether the folder is writable
    if os.path.exists(BEGUN):  # ours, and never finished: a pip that was half installed is not mended by installing it again
        empty(VENV)
    if not os.path.exists(os.path.join(VENV, "pyvenv.cfg")):  # else: a user's own, or one that `develop` has filled since
        open(BEGUN, "w").close()
    dangling(os.path.join(VENV, "bin"))
    site = ["--system-site-packages"] if rocm_torch() else []
    step(f"making {VENV}" + (" over this interpreter's ROCm torch" if site else ""), [sys.executable, "-m", "venv", *site, VENV], held,
         why=[PYTHON, "-m", "ensurepip", "--upgrade", "--default-pip"])
    step("installing Tunefork there, editable, with what its tests need",
         [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "-e", f"{ROOT}[test]"], held)
    if os.path.exists(BEGUN):
        os.unlink(BEGUN)
    with open(MARK, "w", encoding="utf-8") as done:
        done.write(ready_mark())


def foreign() -> None:
    """Refuse a folder that is neither Python's environment nor begun by us: what is begun and not finished is emptied by the next call."""
    import shlex

    found = sorted(entry.name for entry in os.scandir(VENV) if entry.path != MARK)
    if found and not any(os.path.exists(os.path.join(VENV, known)) for known in ("pyvenv.cfg", os.path.basename(BEGUN))):
        sys.exit(f"error: {VENV} holds {found[0]!r} and no pyvenv.cfg: it is no environment of `python3 -m venv`, and Tunefork makes its own there\n"
                 f"  try: mv {shlex.quote(VENV)} {shlex.quote(VENV + '.mine')}, then the same command again; or, where it has a Python of yours: "
                 f"its bin/python build.py --no-venv")


def dangling(folder: str) -> None:
    """Remove the links whose end is gone, as those to an interpreter that the machine has no more: Python's venv leaves every link as it is."""
    for entry in os.scandir(folder) if os.path.isdir(folder) else ():
        if entry.is_symlink() and not os.path.exists(entry.path):
            os.unlink(entry.path)


def empty(folder: str) -> None:
    """Remove what is in a folder, but for BEGUN: whoever is killed here is gone on with."""
    import shutil

    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.path != BEGUN:
            os.unlink(entry.path)


def left(folder: str) -> str:
    """What a user may still write there; files are counted where the disk has a number of them (btrfs has none)."""
    disk = os.statvfs(folder)
    return f"{disk.f_bavail * disk.f_frsize >> 20} MB" + (f", {disk.f_favail} files" if disk.f_files else "")


def unwritable(error: OSError) -> None:
    """.venv cannot be written: why, and what to do without it. A copy by tar: git clones no folder of another user's."""
    import errno
    import shlex

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        scratch = os.environ.get("TMPDIR") or "/tmp"  # not tempfile's word: it asks by writing
        free = [f"{left(folder)} in {folder}" for folder in (VENV, scratch) if os.path.isdir(folder)]
        sys.exit(f"error: cannot make {VENV}: {error.strerror} (free: {', '.join(free)})\n"
                 "  try: have 1 GB and 80,000 files free in both, or another folder for the second (`export TMPDIR=FOLDER`), then the same command again")
    copy = f"mkdir ~/tunefork && tar -C {shlex.quote(ROOT)} --exclude=./.venv --exclude=./work -c . | tar -C ~/tunefork -x"
    sys.exit(f"error: cannot make {VENV}: {error.strerror}\n  try: make it writable to you, with 1 GB free; or have a copy of your own: "
             f"`{copy}`, then python3 ~/tunefork/build.py")


def holds_project() -> bool:
    """Whether the running interpreter, other than .venv's, has this very checkout installed."""
    # What importlib.util.find_spec does, without importing that: this runs before every command.
    spec = next((found for finder in sys.meta_path if (found := finder.find_spec("tunefork", None))), None)
    return spec is not None and spec.origin is not None and os.path.realpath(spec.origin) == os.path.join(ROOT, "tunefork", "__init__.py")


def packaging_tool() -> None:
    """What `python3 -m build` or `import build` in this folder means: the tool of that name, which this file hides from Python."""
    import importlib
    import importlib.util
    import runpy

    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != ROOT]
    if importlib.util.find_spec("build") is None:
        import shlex

        sys.exit(f"error: this Python lacks the packaging tool `build`\n  try: {shlex.quote(sys.executable)} -m pip install build")
    if __name__ == "__main__":
        runpy.run_module("build", run_name="__main__", alter_sys=True)
    else:
        del sys.modules[__name__]
        importlib.import_module(__name__)


def main() -> int:
    """Bootstrap where needed, then hand over to the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file must say so itself when an older Python runs it
        sys.exit(f"error: Tunefork needs Python 3.11 or newer, this is {sys.version.split()[0]}\n"
                 f"  try: python3.11 {' '.join(sys.argv)}")
    # Our folders must not shadow libraries of the same name (transformers imports a top-level `kernels`).
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) != ROOT]
    args = sys.argv[1:]
    in_venv = os.path.realpath(sys.prefix) == os.path.realpath(VENV)
    if args[:1] == ["--no-venv"]:
        args = args[1:]
    elif in_venv or not holds_project():
        try:
            bootstrap()
        except KeyboardInterrupt:
            print("stopped; the next call goes on", file=sys.stderr)
            return 130
        if not in_venv:
            os.execv(PYTHON, [PYTHON, os.path.join(ROOT, "build.py"), *args])
    try:
        from pathlib import Path

        from tunefork.base import layout
        from tunefork.cli.main import main as command
    except ModuleNotFoundError as error:
        import shlex

        install = shlex.join([sys.executable, "-m", "pip", "install", "-e", f"{ROOT}[test]"])
        if in_venv:  # finished, and lacks it: the machine's Python is another than the one that it was made with
            install = f"rm -rf {shlex.quote(VENV)}, then the same command again: it is made anew"
        sys.exit(f"error: this Python lacks {error.name}\n  try: {install}")
    layout.BUILD_PY[:] = [Path(ROOT)]
    return command(args)


if __name__ == "build" or (__spec__ is not None and __spec__.name == "build"):
    packaging_tool()
elif __name__ == "__main__":
    sys.exit(main())
