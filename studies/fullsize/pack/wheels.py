"""The wheels of the pack: vLLM's CUDA wheel and what it requires, directly or not, that the machine lacks; by hash, through pip.

``machine.txt`` says what the machine has, ``left_out.txt`` what is not followed and why. `lock.txt` is what came of it, in pip's own format.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from tunefork.base.errors import SourceError

HERE = Path(__file__).parent
LOCK, MACHINE, LEFT_OUT = HERE / "lock.txt", HERE / "machine.txt", HERE / "left_out.txt"
RELOCK = "python3 -m studies.fullsize.pack --relock"
# pip takes each platform as it is said, and none that is older.
PLATFORMS = ("manylinux1_x86_64", "manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in (5, 12, 17, 24, 26, 27, 28, 31, 34, 35)))
TAGS = ("--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--abi", "abi3", "--abi", "none",
        *(word for platform in PLATFORMS for word in ("--platform", platform)))  # fmt: skip
MARKERS = {"python_version": "3.12", "python_full_version": "3.12.3", "platform_machine": "x86_64", "platform_system": "Linux", "sys_platform": "linux",
           "os_name": "posix", "implementation_name": "cpython", "platform_python_implementation": "CPython"}  # fmt: skip


def listed(path: Path) -> list[str]:
    """The first word of each line that is no comment."""
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


def known(path: Path) -> set[str]:
    """Names of packages in a list of ours, as pip compares them."""
    return {canonicalize_name(Requirement(one).name) for one in listed(path)}


def locked(path: Path = LOCK) -> dict[str, str]:
    """Version by name, of the lock."""
    return {canonicalize_name(name): version for name, _, version in (one.partition("==") for one in listed(path))}


def download(words: Iterable[str], into: Path) -> None:
    """What pip finds for the machine. Errors: SourceError, with the end of what pip said."""
    argv = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", *TAGS, "--dest", str(into), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    if done.returncode:
        said = " ".join(done.stderr.splitlines()[-3:]).strip()
        raise SourceError(f"pip could not download what the pack needs: {said}", f"see pip's own configuration; where a file is gone for good: {RELOCK}")


def needs(wheel: Path, extras: set[str]) -> list[Requirement]:
    """What a wheel requires on the machine, with these of its extras."""
    with zipfile.ZipFile(wheel) as box:
        name = next(name for name in box.namelist() if name.endswith(".dist-info/METADATA"))
        said = HeaderParser().parsestr(box.read(name).decode())
    found = [Requirement(text) for text in said.get_all("Requires-Dist", [])]
    return [one for one in found if one.marker is None or any(one.marker.evaluate({**MARKERS, "extra": extra}) for extra in ("", *extras))]


def asked(vllm: str, got: dict[str, Path], skip: set[str]) -> dict[str, Requirement]:
    """What is needed, as far as these wheels say: by name, with the specifiers and the extras of all who ask."""
    found = {"vllm": Requirement(f"vllm=={vllm}")}
    todo = ["vllm"]
    while todo:
        if (name := todo.pop()) not in got:
            continue
        for one in needs(got[name], found[name].extras):
            if (key := canonicalize_name(one.name)) in skip:
                continue
            if key not in found or not one.extras <= found[key].extras:
                todo.append(key)
            whole = found.setdefault(key, one)
            whole.specifier &= one.specifier
            whole.extras |= one.extras
    return found


def relock(vllm: str, into: Path, path: Path = LOCK) -> str:
    """Write the lock: vLLM of this version, and of each package that has to come along the newest that all who ask for it take. Returns the lock."""
    skip = known(MACHINE) | known(LEFT_OUT)
    got: dict[str, Path] = {}
    versions: dict[str, Version] = {}
    while True:
        wanted = asked(vllm, got, skip)
        lacking = [name for name, one in wanted.items() if name not in got or not one.specifier.contains(versions[name], prereleases=True)]
        if not lacking:
            break
        for name in set(lacking) & set(got):
            got[name].unlink()
        download([f"{name}{wanted[name].specifier}" for name in lacking], into)
        got = {parse_wheel_filename(wheel.name)[0]: wheel for wheel in into.glob("*.whl")}
        versions = {name: parse_wheel_filename(wheel.name)[1] for name, wheel in got.items()}
    lines = [f"{name}=={versions[name]} --hash=sha256:{hashlib.sha256(got[name].read_bytes()).hexdigest()}\n" for name in sorted(wanted)]
    path.write_text(f"# Written by `{RELOCK}`.\n" + "".join(lines))
    return path.read_text()


def fetched(vllm: str, into: Path, path: Path = LOCK) -> dict[str, Path]:
    """The wheels of the lock, by name. Errors: SourceError; the lock is of another vLLM than is pinned, or pip found another file."""
    if (version := locked(path).get("vllm")) != vllm:
        raise SourceError(f"{path.name} is of vLLM {version}, pinned is {vllm}", f"run: {RELOCK}")
    download(["--require-hashes", "-r", str(path)], into)
    return {parse_wheel_filename(wheel.name)[0]: wheel for wheel in sorted(into.glob("*.whl"))}
