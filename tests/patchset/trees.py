"""Random trees and edits for the manager's property tests, written by real git (fast-import) into one repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import strategies as st

Tree = dict[bytes, tuple[str, bytes]]
"""path -> (mode, content)"""

NAMES = [
    b"a", b"b", b"c.py", b"dir", b"sp ace", b"tab\there", b'qu"ote', b"new\nline", b"caf\xe9", "ü".encode(), b"back\\slash", b"x b",
    b"a b", b"trailing ", b" leading", b"-dash", b"\x01ctl", b"=>", b"cr\r",
]  # fmt: skip
LINES = [
    b"", b"x", b"same", b"def f():", b"    return 1", b"caf\xe9", b"-- ", b"--- a/a", b"+++ b/a", b"@@ -1 +1 @@", b"diff --git a/a b/a",
    b"\\ No newline at end of file", b"GIT binary patch", b"From nobody", b"trailing  ", b"\ttab", b"lone\rcr", b"\x0b\x0c\x85", b"---",
]  # fmt: skip
ENDINGS = [b"\n", b"\n", b"\n", b"\r\n", b"\r"]

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)
line = st.tuples(st.sampled_from(LINES), st.sampled_from(ENDINGS)).map(b"".join)
text = st.tuples(st.lists(line, max_size=30), st.sampled_from([b"", b"", b"no end of line"])).map(lambda parts: b"".join(parts[0]) + parts[1])
binary = st.tuples(st.integers(0, 255), st.integers(1, 1500)).map(lambda seed: bytes((n * n + seed[0]) % 256 for n in range(seed[1])))
contents = st.one_of(text, text, text, binary, st.just(b""))
modes = st.sampled_from(["100644", "100644", "100644", "100755", "120000"])


def place(tree: Tree, path: bytes, entry: tuple[str, bytes]) -> None:
    """Put a file where it is, in place of a file or a folder that is in its way; a symlink's content is made one line."""
    mode, data = entry
    if mode == "120000":
        entry = mode, data.replace(b"\0", b"").replace(b"\n", b"")[:60] or b"target"
    for other in list(tree):
        if other.startswith(path + b"/") or path.startswith(other + b"/"):
            del tree[other]
    tree[path] = entry


def edited(draw: st.DrawFn, data: bytes) -> bytes:
    """A content with a few of its lines, or of its bytes, changed."""
    if b"\0" in data:
        at = draw(st.integers(0, len(data)))
        return data[:at] + draw(st.binary(max_size=40)) + data[at + draw(st.integers(0, 40)) :]
    lines = data.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines)))
        lines[at : at + draw(st.integers(0, 2))] = draw(st.lists(line, max_size=3))
    return b"".join(lines)


@st.composite
def edits(draw: st.DrawFn) -> tuple[Tree, Tree]:
    """A tree and what somebody made of it; at least one path differs."""
    before: Tree = {}
    for path, mode, data in draw(st.lists(st.tuples(paths, modes, contents), min_size=1, max_size=6)):
        place(before, path, (mode, data))
    after = dict(before)
    for _ in range(draw(st.integers(1, 5))):
        path = draw(st.sampled_from(sorted(after) or [b"a"]))
        mode, data = after.get(path, ("100644", b""))
        other = draw(paths)
        match draw(st.sampled_from(["edit", "edit", "edit", "new", "delete", "rename", "copy", "mode", "swap", "folder"])):
            case "edit":
                place(after, path, (mode, edited(draw, data)))
            case "new":
                place(after, other, (draw(modes), draw(contents)))
            case "delete":
                after.pop(path, None)
            case "rename":
                after.pop(path, None)
                place(after, other, (mode, data))
            case "copy":
                place(after, other, (mode, data))
            case "mode":
                place(after, path, (draw(modes), data))
            case "swap" if other in after:
                after[path], after[other] = after[other], after[path]
            case "folder":
                place(after, path + b"/inner", (mode, data))
    if after == before:
        place(after, b"a", ("100644", before.get(b"a", ("", b""))[1] + b"and more\n"))
    return before, after


def run(repository: Path, *args: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["git", *args], cwd=repository, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout


def commit(repository: Path, *trees: Tree) -> list[str]:
    """Commit trees one onto the other; their commits."""
    stream = bytearray()
    for mark, tree in enumerate(trees, 1):
        stream += b"commit refs/heads/random\nmark :%d\ncommitter T <t@t> %d +0000\ndata 2\n%d\n" % (mark, mark, mark % 10)
        stream += b"from :%d\n" % (mark - 1) if mark > 1 else b""
        stream += b"deleteall\n"
        for path, (mode, data) in tree.items():
            quoted = b"".join(b"\\%03o" % byte for byte in path)
            stream += b'M %s inline "%s"\ndata %d\n%s\n' % (mode.encode(), quoted, len(data), data)
    marks = repository / "marks"
    run(repository, "fast-import", "--quiet", "--force", "--done", f"--export-marks={marks}", stdin=bytes(stream) + b"done\n")
    found = dict(each.split() for each in marks.read_text().splitlines())
    return [found[f":{number}"] for number in range(1, len(trees) + 1)]
