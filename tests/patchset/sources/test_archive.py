"""Archives from strangers: nothing lands outside, nothing but files, links and an executable bit comes through."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunefork.base.errors import SourceError
from tunefork.patchset.sources import archive
from tunefork.patchset.sources.archive import UnsafeArchive

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(data)
    return info, data


def tar(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w:gz", encoding="utf-8", errors="surrogateescape", format=tarfile.GNU_FORMAT) as out:
        for info, data in members:
            out.addfile(info, io.BytesIO(data))
    return path


def everything(folder: Path) -> set[bytes]:
    return {os.fsencode(path.relative_to(folder)) for path in folder.rglob("*")}


def test_files_links_and_executable_bits_come_through(tmp_path: Path) -> None:
    made = tar(
        tmp_path / "a.tar.gz",
        member("top", kind=tarfile.DIRTYPE, mode=0o755),
        member("top/plain", b"one\r\n"),
        member("./top//run.sh", b"#!/bin/sh\n", mode=0o755),
        member("top/sub/empty"),
        member("top/sub/up", kind=tarfile.SYMTYPE, link="../plain"),
        member("top/hard", kind=tarfile.LNKTYPE, link="top/plain"),
        member("top/caf\udce9", b"latin-1 name"),
    )
    archive.unpack(made, tmp_path / "out")
    out = tmp_path / "out"
    files = {b"top/plain", b"top/run.sh", b"top/sub/empty", b"top/sub/up", b"top/hard", b"top/caf\xe9"}
    assert everything(out) == {b"top", b"top/sub", *files}
    assert (out / "top/plain").read_bytes() == (out / "top/hard").read_bytes() == (out / "top/sub/up").read_bytes() == b"one\r\n"
    assert (out / "top/run.sh").stat().st_mode & 0o111 and not (out / "top/plain").stat().st_mode & 0o111
    assert (out / "top/hard").stat().st_nlink == 1


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1755, 0o6777])
def test_no_other_mode_bit_survives(tmp_path: Path, mode: int) -> None:
    archive.unpack(tar(tmp_path / "a.tar.gz", member("top/tool", b"x", mode=mode)), tmp_path / "out")
    found = stat.S_IMODE((tmp_path / "out/top/tool").stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    assert found == 0o777 & ~umask


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member("../evil", b"x"), 'contains ".."'),
        (member("top/../../evil", b"x"), 'contains ".."'),
        (member("/evil", b"x"), "is an absolute path"),
        (member("top/out", kind=tarfile.SYMTYPE, link="/etc/passwd"), "leads out of the archive"),
        (member("top/out", kind=tarfile.SYMTYPE, link="../../evil"), "leads out of the archive"),
        (member("top/out", kind=tarfile.SYMTYPE, link="inside/../../.."), "leads out of the archive"),
        (member("top/out", kind=tarfile.SYMTYPE, link="out"), "leads out of the archive"),
        (member("top/hard", kind=tarfile.LNKTYPE, link="../evil"), "is damaged"),
        (member("top/hard", kind=tarfile.LNKTYPE, link="/etc/passwd"), "is damaged"),
        (member("top/hard", kind=tarfile.LNKTYPE, link="top/hard"), "is damaged"),
        (member("top/dev", kind=tarfile.CHRTYPE), "is a device or pipe"),
        (member("top/dev", kind=tarfile.BLKTYPE), "is a device or pipe"),
        (member("top/pipe", kind=tarfile.FIFOTYPE), "is a device or pipe"),
        (member("top/good", b"again"), "is there twice"),
        (member("top", b"a file where a folder is"), "is there twice"),
        (member("top/good/below", b"x"), "lies below an entry that is no folder"),
        (member("top/good", kind=tarfile.DIRTYPE), "lies below an entry that is no folder"),
    ],
)
def test_a_malicious_entry_is_refused_and_leaves_nothing(tmp_path: Path, bad: Member, why: str) -> None:
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    made = tar(tmp_path / "a.tar.gz", member("top/good", b"good"), bad)
    before = everything(tmp_path)
    with pytest.raises(SourceError, match=why.replace(".", r"\.")) as caught:
        archive.unpack(made, inner / "out")
    assert everything(tmp_path) == before
    assert caught.value.remedy and "a.tar.gz" in caught.value.message


def test_a_link_through_another_link_cannot_climb(tmp_path: Path) -> None:
    # Read word for word "p/q/step/.." stays inside; followed, step is the top and ".." leaves it.
    made = tar(
        tmp_path / "a.tar.gz",
        member("p/q/step", kind=tarfile.SYMTYPE, link="../.."),
        member("p/q/out", kind=tarfile.SYMTYPE, link="step/.."),
    )
    with pytest.raises(UnsafeArchive, match="leads out"):
        archive.unpack(made, tmp_path / "out")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    made = tar(tmp_path / "a.tar.gz", member("top/d", kind=tarfile.SYMTYPE, link="."), member("top/d/file", b"x"))
    with pytest.raises(UnsafeArchive, match="lies below"):
        archive.unpack(made, tmp_path / "out")


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    made = tar(tmp_path / "a.tar", member("top/link", kind=tarfile.SYMTYPE, link=""))
    with pytest.raises(UnsafeArchive, match="is a link to nothing"):
        archive.unpack(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


PARTS = st.lists(st.sampled_from(["..", ".", "a", "b", "c", ""]), min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
MEMBERS = st.lists(st.tuples(PARTS, KINDS, PARTS), max_size=6)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(MEMBERS)
def test_whatever_the_names_are_nothing_leaves_the_folder(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, bytes, str]]
) -> None:
    tmp_path = tmp_path_factory.mktemp("any")
    content = {tarfile.REGTYPE: b"x"}
    made = tar(tmp_path / "a.tar", *(member(name, content.get(kind, b""), kind=kind, link=link) for name, kind, link in names))
    out = tmp_path / "jail" / "out"
    try:
        archive.unpack(made, out)
    except SourceError:
        assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"a.tar", "jail"}
    assert not out.parent.exists() or {path.name for path in out.parent.iterdir()} <= {"out"}
    for where, folders, files in os.walk(out):
        for name in (*folders, *files):
            assert (Path(where) / name).resolve().is_relative_to(out.resolve())


def test_a_truncated_archive_is_damaged_whichever_byte_is_the_last(tmp_path: Path) -> None:
    whole = tar(tmp_path / "a.tar.gz", *(member(f"top/{n}", os.urandom(3000)) for n in range(5))).read_bytes()
    for size in (0, 1, 20, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        cut = tmp_path / "cut.tar.gz"
        cut.write_bytes(whole[:size])
        with pytest.raises(SourceError, match=r"cut\.tar\.gz is damaged"):
            archive.unpack(cut, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def wheel(path: Path, *members: tuple[str, int, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, mode, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            out.writestr(info, data)
    return path


def test_a_wheel_is_unpacked_too(tmp_path: Path) -> None:
    made = wheel(tmp_path / "a.whl", ("pkg/_C.so", stat.S_IFREG | 0o755, b"\x7fELF"), ("pkg/é.py", stat.S_IFREG | 0o644, b""),
                 ("pkg/none.py", 0, b"no mode"), ("pkg/sub/", stat.S_IFDIR | 0o755, b""))  # fmt: skip
    archive.unpack(made, tmp_path / "out")
    assert everything(tmp_path / "out") == {b"pkg", b"pkg/_C.so", "pkg/é.py".encode(), b"pkg/none.py"}
    assert (tmp_path / "out/pkg/_C.so").stat().st_mode & 0o100 and not (tmp_path / "out/pkg/none.py").stat().st_mode & 0o100


@pytest.mark.parametrize(
    ("name", "mode", "data"),
    [("../evil", stat.S_IFREG | 0o644, b""), ("/evil", stat.S_IFREG | 0o644, b""), ("pkg/out", stat.S_IFLNK | 0o777, b"../../evil"),
     ("pkg/pipe", stat.S_IFIFO | 0o644, b"")],
)  # fmt: skip
def test_a_malicious_wheel_is_refused(tmp_path: Path, name: str, mode: int, data: bytes) -> None:
    with pytest.raises(UnsafeArchive):
        archive.unpack(wheel(tmp_path / "a.whl", ("pkg/good", 0, b"x"), (name, mode, data)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_refused_is_removed_as_printed_and_another_one_is_taken(tmp_path: Path) -> None:
    where = tmp_path / "with blank.tar.gz"
    with pytest.raises(UnsafeArchive) as caught:
        archive.unpack(tar(where, member("../out", b"x")), tmp_path / "out")
    word = re.search(r"remove (.*?), and", caught.value.remedy)
    assert word is not None
    subprocess.run(["sh", "-c", f"rm {word[1]}"], check=True)
    archive.unpack(tar(where, member("top/file", b"x")), tmp_path / "out")
    assert [path.read_bytes() for path in (tmp_path / "out").rglob("file")] == [b"x"]


def test_a_damaged_wheel_is_said(tmp_path: Path) -> None:
    made = wheel(tmp_path / "a.whl", ("pkg/data", 0, os.urandom(5000)))
    content = bytearray(made.read_bytes())
    content[2000] ^= 0xFF
    made.write_bytes(content)
    with pytest.raises(SourceError, match="is damaged"):
        archive.unpack(made, tmp_path / "out")


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    made = tar(tmp_path / "a.tar.gz", member("top/run", b"x", mode=0o755))
    umask = os.umask(0o077)
    try:
        archive.unpack(made, tmp_path / "out")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out/top/run").stat().st_mode) == 0o700
