"""tunefork/patchset/series/lock.py: what is written is read back, and every difference is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefork.base.errors import LockMismatch
from tunefork.patchset.series.lock import FILE, Lock, LockedPatch, Touch
from tunefork.patchset.series.series import Series

ODD = [b"plain/x.py", b"with space", b'"', b'a"b', b"back\\slash", b"\n\t\r", b"caf\xe9", "ü".encode(), b" ", b"#x", b":100644", b"'", b"~", b"\x7f"]


def touch(path: bytes = b"f", old: str = "1", new: str = "2") -> Touch:
    return Touch("100644", "100755", old * 40, new * 40, path)


def lock(*touches: Touch) -> Lock:
    return Lock("c" * 40, (LockedPatch("one", "d" * 64, touches or (touch(),)), LockedPatch("two", "e" * 64, ())))


def test_any_path_is_read_back(tmp_path: Path) -> None:
    written = lock(*map(touch, ODD))
    assert written.save(tmp_path) and not written.save(tmp_path)
    assert Lock.load(tmp_path) == written
    (tmp_path / FILE).read_bytes().decode("ascii")
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_no_file_is_no_lock(tmp_path: Path) -> None:
    assert Lock.load(tmp_path) is None


@pytest.mark.parametrize("line", ["nonsense", "patch x sha256 12", ":100644 100644 1 2 f", "<<<<<<< HEAD", "patch caf\xe9 \xff"])
def test_a_line_that_is_none(tmp_path: Path, line: str) -> None:
    lock().save(tmp_path)
    text = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(text + line.encode("latin-1") + b"\n")
    with pytest.raises(LockMismatch, match=rf"series\.lock:{text.count(b'%c' % 10) + 1} is not a line of a lock") as caught:
        Lock.load(tmp_path)
    assert "git checkout" in caught.value.remedy


def test_files_and_order_are_checked() -> None:
    series = Series("up", Path("/p"), {"one": b"1", "two": b"2"})
    good = ["d" * 64, "e" * 64]
    lock().check_files(series, "c" * 40, good)
    for other, base, sums, why in (
        (series, "a" * 40, good, "made on commit cccccccccccc, pins.toml says aaaaaaaaaaaa"),
        (Series("up", Path("/p"), {"one": b"1"}), "c" * 40, good, "differ in two"),
        (Series("up", Path("/p"), {"two": b"1", "one": b""}), "c" * 40, good, "differ in their order"),
        (series, "c" * 40, ["d" * 64, "0" * 64], r"two\.patch is not the file that series\.lock records"),
    ):
        with pytest.raises(LockMismatch, match=why) as caught:
            other_lock = lock()
            other_lock.check_files(other, base, sums)
        assert "patch lock up" in caught.value.remedy


@pytest.mark.parametrize("made", [(), (touch(new="3"),), (touch(old="3"),), (touch(), touch(b"g")), (touch(b"g"),)])
def test_what_a_patch_made_is_checked(made: tuple[Touch, ...]) -> None:
    lock().check_touches("one", (touch(),))
    with pytest.raises(LockMismatch, match=r"one makes of [fg](, [fg])* something else than series\.lock records"):
        lock().check_touches("one", made)
