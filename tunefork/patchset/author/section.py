"""The diffs of others, read as git apply reads them; those of a quilt series as patch does. Every line is part of a change, text, or an error.

Formats: git's documentation of ``git diff -p``; POSIX diff for the unified and the context form; GNU diff for the dates that mean "no file".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tunefork.base.errors import BadInput
from tunefork.patchset.author import contexts, ledger
from tunefork.patchset.series import diff
from tunefork.patchset.series.diff import FileChange, Hunk, shown

AGAIN = "have it written again: `git format-patch --binary` (or `git diff --binary --full-index`) writes what can be taken exactly"
TYPE, FILE_TYPES = 0o170000, (0o100000, 0o120000, 0o160000)
SIDES = 2  # lines that name a file: old and new
HUNK, FRAGMENT = b"@@ -", re.compile(rb"@@ -\d")
PADDED = re.compile(rb"@@ -(0\d|\d+,0\d|\d+(,\d+)? \+(0\d|\d+,0\d))")
MODE = re.compile(rb"^(old mode|new mode|new file mode|deleted file mode)(.*)$")
DATE = re.compile(rb"[ \t](\d{4}-(?:0[1-9]|1[012])-(?:[012]\d|3[01])) ((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.\d+)? ([-+][01]\d):?([0-5]\d)\s*$")
MOMENT = re.compile(rb":00(\.0+)? [-+]")
CTIME = re.compile(rb"\t(?:Thu Jan +0?1 00:00:00|[MTWFS][a-z]{2} (?!Dec 3|Jan +0?[12])[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (\d{4})(?: [-+]\d{4})?\s*$")
ZONES = -25 * 3600, 26 * 3600  # a local time of any zone that POSIX allows; what patch takes for 1970-01-01
DATED = re.compile(rb"[ \t]+(\d{4}-\d\d-\d\d[ T]\d\d:\d\d|(Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d).*$")
BINARY = re.compile(rb"^(?:Binary f|F)iles (.+) and (.+) differ\s*$")
# What a line of a header, or of binary data, is counted by: another rule than the one it is read by.
HEADER_LINE = re.compile(rb"diff --git |index [0-9a-f]|(old|new|new file|deleted file) mode|(rename|copy) (from|to|old|new) |--- |\+\+\+ |(dis)?similarity ")
MOVES = re.compile(rb"(old|new|new file|deleted file) mode |(rename|copy) (from|to) ")
DATA_LINE = re.compile(rb"GIT binary patch\s*$|(literal|delta) \d+\s*$|[A-Za-z][!-~]{5,}\s*$|\s*$")
ENDS_SECTION = (b"diff --git ", b"diff -", b"Index: ", b"--- ", b"+++ ", b"*** ")
# Lines that tools write around their diffs, which change nothing.
USUAL = re.compile(rb"^(\s*|-- ?|(diff |Index:|===|RCS file:|retrieving revision |Prereq:|Common subdirectories:|index ).*)$")
# Lines that are part of a change which nothing here reads: (what they look like, what that is).
LOST = (
    (FRAGMENT, "a hunk that belongs to no file: text stands before it, or the lines that name its file are damaged"),
    (re.compile(rb"^(@@@|diff --(cc|combined) )"), "a combined diff, which git shows of a merge and nothing can apply"),
    (re.compile(rb"^! "), "a changed line of a context diff, outside its hunks"),
    (re.compile(rb"^GIT binary patch"), "binary data that belongs to no file"),
    (re.compile(rb"^(\*{15}|\*\*\* \d+(,\d+)? \*{4}|--- \d+(,\d+)? ----)"), "a context diff without the two lines that name its file, or a damaged one"),
    (re.compile(rb"^\d+(,\d+)?[acd]\d+(,\d+)?\s*$"), "a diff without context (`diff` without -u), which does not say where it goes"),
    (re.compile(rb"^Submodule .* [0-9a-f]{7,}\.{2,3}[0-9a-f]{7,}"), "a submodule told in words (`--submodule=log`)"),
)
LOST_TO_PATCH = (*LOST, (re.compile(rb"^[ \tX]+(diff --git |@@ -\d|\*{15})"), "an indented diff, which patch applies"))
AS_TEXT = "where it is text, put a sign before it that is no blank, such as `|`"


def lost(line: bytes, *, quilt: bool) -> str:
    """What a line between diffs is a part of that nothing here reads; empty where it is none."""
    return next((what for form, what in (LOST_TO_PATCH if quilt else LOST) if form.match(line)), "")


@dataclass
class Section(FileChange):
    """A file change of a foreign diff. line: where it begins, from 1.

    other: the second name that a plain diff has for the file.  unseen: binary, and the diff only says that it differs.
    perhaps: it adds the file, or lines at its top where there is one.
    crs: its header lines end in CR LF, so that its content may have been given CRs with them.
    moved: what lines of a rename or a copy it has: True for where it is from, False for where it goes.
    sides: what stands behind `---` and `+++` in a git header; hunks must follow them.
    """

    line: int = 0
    other: bytes = b""
    unseen: bool = False
    crs: bool = False
    perhaps: bool = False
    sides: tuple[bytes, ...] = ()
    moved: set[bool] = field(default_factory=set)


@dataclass
class Read:
    """What a file's diff holds. parts: its bytes by what they are, all of them.  notes: text that is worth a word."""

    changes: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: ledger.Parts = field(default_factory=Counter)


def read(file: str, text: bytes, strip: int = 1, *, quilt: bool = False, first: int = 1, reverse: bool = False) -> Read:
    """Every change of a diff. strip: leading parts of paths to take off.  quilt: as patch reads, not as git.  first: the number of its first line.
    reverse: the diff is from the new to the old (``-R``).

    BadInput names the line that looks like a change and cannot be taken.
    """
    reader = Reader(file, diff.split_lines(text), strip, quilt, first)
    try:
        found = reader.run()
        ledger.balance(file, len(text), found.parts, first)
        if reverse:
            found.changes = [reversed_change(file, each) for each in found.changes]
        return found
    except ledger.Unaccounted:
        raise
    except BadInput as error:  # of diff.py, which speaks of our own patch files
        name = file.removesuffix(".patch")
        remedy = AGAIN if error.remedy == diff.AGAIN else error.remedy.replace(f"{name}.patch", file)
        raise BadInput(file + error.message.removeprefix(f"{name}.patch").removeprefix(file), remedy) from None


class Reader:
    """Goes over the lines of one file's diff."""

    def __init__(self, file: str, lines: list[bytes], strip: int, quilt: bool, first: int) -> None:
        self.file, self.lines, self.strip, self.quilt, self.first = file, lines, strip, quilt, first
        self.at = 0
        self.found = Read()

    def run(self) -> Read:
        while self.at < len(self.lines):
            begin = self.at
            change = self.section()
            if change is None:
                self.take(self.text(self.lines[self.at]), self.lines[self.at : self.at + 1])
                self.at += 1
                continue
            change.line = self.first + begin
            for path in (change, replace(change, old_path=change.other, new_path=change.other)) if change.other else (change,):
                diff.check_paths(self.file.removesuffix(".patch"), path)
            before = self.found.changes[-1] if self.found.changes else None
            bare = before is not None and not (before.hunks or before.binary or before.unseen)
            if before and bare and not self.lines[begin].startswith(b"diff --git ") and (before.new_path == change.new_path or not self.announced(begin)):
                raise self.bad("text stands between the header of this file and its hunks", begin)
            self.found.changes.append(change)
            self.after_hunk(change)
        return self.found

    def take(self, part: str, lines: Sequence[bytes], form: re.Pattern[bytes] | None = None) -> None:
        """Count lines as a part of the file. form: only those that it matches are."""
        self.found.parts[part] += sum(len(line) for line in lines if form is None or form.match(line))

    def announced(self, at: int) -> bool:
        """Whether a tool's line stands between a plain diff and the header of the file before it."""
        while at and not self.lines[at - 1].startswith((b"diff ", b"Index: ")):
            at -= 1
        return at > 0 and not self.lines[at - 1].startswith(b"diff --git ")

    def bad(self, why: str, at: int | None = None, remedy: str = AGAIN) -> BadInput:
        number = self.at if at is None else at
        line = self.lines[number] if number < len(self.lines) else b""
        return BadInput(f"{self.file}:{self.first + number}: {why}: {shown(line.rstrip())[:80]!r}", remedy)

    def section(self) -> Section | None:
        """The change that begins at this line; None where none does."""
        line = self.lines[self.at]
        if line.startswith(b"diff --git "):
            return self.git()
        if line.startswith(b"--- ") and self.starts(1, b"+++ ") and self.hunk_follows(self.at + 2):
            return self.plain()
        if line.startswith(b"--- ") and self.starts(1, b"+++ "):
            raise self.bad("two lines that name a file, and no hunk behind them")
        if line.startswith(b"*** ") and self.starts(1, b"--- ") and self.starts(2, b"*" * 15):
            return self.context()
        return None

    def starts(self, offset: int, begin: bytes) -> bool:
        return self.at + offset < len(self.lines) and self.lines[self.at + offset].startswith(begin)

    def hunk_follows(self, at: int) -> bool:
        """Whether a file's names are followed by its hunks; patch, unlike git, allows text between."""
        while self.quilt and at < len(self.lines) and not self.lines[at].startswith((HUNK, *ENDS_SECTION)):
            at += 1
        return at < len(self.lines) and FRAGMENT.match(self.lines[at]) is not None

    def text(self, line: bytes) -> str:
        """What a line between changes is: refused where it is part of one, noted where it is not what tools write there."""
        if what := lost(line, quilt=self.quilt):
            raise self.bad(what)
        last = self.found.changes[-1] if self.found.changes else None
        if self.quilt and last and not last.hunks and line.startswith((b"--- ", b"+++ ")):
            raise self.bad("a line that names a file, without its other one, behind a header without a change")
        if self.quilt and last and MOVES.match(line):
            raise self.bad("a line of a header behind text, where patch reads it")
        if match := BINARY.match(line.rstrip()):
            path = shown(self.path(match[2]) or self.path(match[1]) or match[2])
            raise self.bad(f"{path} is binary and its content is not in the diff", remedy=f"only git can write it: `git diff --binary` of {path}")
        if not self.found.changes:
            return "remarks before the diff"
        previous = self.lines[self.at - 1].rstrip()
        if line.startswith(b"Only in "):
            self.found.notes.append(f"{shown(line.strip())}, and the diff does not bring it")
            return "text with a note"
        if USUAL.match(line.rstrip(b"\r\n")):
            return "tools' lines"
        if previous == b"--":
            return "signature"
        if USUAL.match(previous):
            self.found.notes.append(f"text at line {self.first + self.at} passed over: {shown(line.strip())[:60]!r}")
        return "text with a note"

    def after_hunk(self, change: Section) -> None:
        """A hunk is as long as its header says, and a header tells of all: a changed line right behind either would be lost."""
        if self.at < len(self.lines):
            line = self.lines[self.at]
            if line[:1] in (b"+", b"-") and not re.match(rb"(--+\s*$|--- )", line) and not (line.startswith(b"+++ ") and line.strip() != b"+++"):
                raise self.bad("the hunk before this line is longer than its `@@` line says" if change.hunks else "this line belongs to no hunk")
            if not change.hunks and line.startswith(b"@"):
                raise self.bad("this line is no `@@` line")

    # -- names --------------------------------------------------------------------------------------------------

    def path(self, name: bytes, strip: int | None = None) -> bytes | None:
        """A path without its first parts; None for /dev/null. Empty where it has fewer parts."""
        name = diff.unquote(name.rstrip(b"\r\n"))
        if name == b"/dev/null":
            return None
        parts = name.split(b"/")[self.strip if strip is None else strip :]
        return b"/".join(part for part in parts if part != b"." or not self.quilt)

    def prefixes(self) -> str:
        """What to do about paths that have too few parts."""
        if self.quilt:
            return f"give its line in the quilt series another -pN; {AS_TEXT}"
        return f"`echo '{self.file} -p0' > series` in its folder, with a line for each patch there; or have it written with a/ and b/"

    def header_name(self, line: bytes) -> bytes:
        """The one name of ``diff --git a/x b/x``, whatever its prefixes; empty where its two names differ."""
        return next((old for old, new in self.header_names(line) if old and old == new), b"")

    def header_names(self, line: bytes) -> Iterator[tuple[bytes | None, bytes | None]]:
        """The pairs of names that ``diff --git a/x b/y`` may mean: names may hold blanks."""
        rest = line[len(b"diff --git ") :].rstrip(b"\r\n")
        if b'"' in rest:
            match = re.fullmatch(rb'("(?:[^"\\]|\\.)*"|[^" ]\S*|.*?) ("(?:[^"\\]|\\.)*"|.*)', rest)
            pairs: Iterator[tuple[bytes, bytes]] = iter([(match[1], match[2])] if match else [])
        else:
            pairs = ((rest[: each.start()], rest[each.end() :]) for each in re.finditer(rb"[ \t]", rest))
        for first, second in pairs:
            yield self.path(first), self.path(second)

    # -- git's form ---------------------------------------------------------------------------------------------

    def git(self) -> Section:
        """One ``diff --git`` section: its extended header, then hunks or binary data."""
        begin = self.at
        name = self.header_name(self.lines[begin])
        change = Section(b"", b"", crs=self.lines[begin].endswith(b"\r\n"))
        self.at += 1
        while self.at < len(self.lines) and self.header_line(change, self.lines[self.at].rstrip(b"\r\n")):
            self.at += 1
        head = self.lines[begin : self.at]
        self.take("diff headers", head, HEADER_LINE)
        if self.at < len(self.lines) and (match := BINARY.match(self.lines[self.at].rstrip())) and not match[0].startswith(b"Files"):
            change.unseen = True
            self.take("binary without its data", self.lines[self.at : self.at + 1])
            self.at += 1
        elif self.starts(0, b"GIT binary patch"):
            if self.lines[self.at].rstrip(b"\r\n") != b"GIT binary patch":
                raise self.bad("this line is no `GIT binary patch`")
            data = self.at
            self.at = diff.parse_binary(self.file.removesuffix(".patch"), change, self.lines, data + 1, both=True)
            self.take("binary data", self.lines[data : self.at], DATA_LINE)
        else:
            self.hunks(change)
        old, new = change.old_path, change.new_path = both_names(change, name)
        if not old or not new:
            raise self.bad(f"no path is left of this line's names without their first {self.strip} parts", begin,
                           self.prefixes())
        if change.kind == "modify" and old != new:
            raise self.bad(f"this file is {shown(old)} and {shown(new)}, and the header tells neither of a rename nor of a copy", begin)
        change = self.consistent(change, name, begin, head)
        changes = change.hunks or change.binary is not None or change.unseen or change.kind != "modify" or change.new_mode
        if not changes and (change.old_blob != change.new_blob or not self.quilt):
            raise self.bad("this file has a header and no change", begin)
        return change

    def consistent(self, change: Section, name: bytes, begin: int, head: list[bytes]) -> Section:
        """Refuse a header (head: its lines) that disagrees with itself; git passes some of that over, and patch reads some in another manner."""
        if change.sides and not change.hunks:
            raise self.bad("this file has `---` and `+++` lines and no change behind them", begin)
        if change.hunks and (len(change.sides) == 1 or (self.quilt and len(change.sides) != SIDES)):
            raise self.bad("a `---` or a `+++` line of this file is missing or damaged", begin)
        if change.binary and not change.new_blob:
            raise self.bad("binary data without an `index` line, which git passes over", begin)
        if not self.quilt:
            return change
        if change.moved and (change.old_path, change.new_path) not in self.header_names(head[0]):
            raise self.bad("this line and the lines of a rename or a copy name other files", begin)
        if len(change.moved) == 1:
            raise self.bad("a `rename` or a `copy` line of this file is missing or damaged", begin)
        if change.kind not in ("rename", "copy") and name and name != change.new_path:
            raise self.bad(f"this line and the `---` and `+++` lines name other files, {shown(name)} and {shown(change.new_path)}", begin)
        empty = {"add": change.sides[:1], "delete": change.sides[1:]}.get(change.kind, ())
        if any(self.path(self.undated(each)) for each in empty):
            raise self.bad("this file is new or deleted, and its `---` and `+++` lines name it on both sides", begin)
        if len({line.endswith(b"\r\n") for line in head}) > 1:
            raise self.bad("some lines of this header end in CR LF and some do not", begin)
        return self.kind(change, list(change.sides)) if change.kind == "modify" and change.hunks else change

    def header_line(self, change: Section, line: bytes) -> bool:
        """Take one extended header line into the change; False when it is none."""
        if line.startswith((b"diff --git ", HUNK, b"GIT binary patch")):
            return False
        if match := MODE.match(line):
            self.mode(change, match[1], match[2].removeprefix(b" ") if match[2][:1] == b" " else b"")
        elif match := diff.INDEX.match(line):
            change.old_blob, change.new_blob = match[1].decode(), match[2].decode()
            if self.quilt and match[3] and (change.old_mode or change.new_mode):
                raise self.bad("this file's mode is told twice")
            change.old_mode = change.old_mode or (match[3].decode() if match[3] else None)
        elif match := re.match(rb"(rename|copy) (from|old|to|new) (.+)", line):
            origin = match[2] in (b"from", b"old")
            if self.quilt and origin in change.moved:
                raise self.bad("this header tells of a rename or a copy twice")
            change.kind, change.moved = match[1].decode(), {*change.moved, origin}
            path = self.path(match[3], max(self.strip - 1, 0)) or b""
            if match[2] in (b"from", b"old"):
                change.old_path = path
            else:
                change.new_path = path
        elif line.startswith((b"--- ", b"+++ ")):
            self.side(change, line)
        else:
            return line.startswith((b"similarity index ", b"dissimilarity index "))
        return True

    def mode(self, change: Section, what: bytes, value: bytes) -> None:
        """A line about modes, which git makes one of the few that a tree holds."""
        if self.quilt and (change.sides or change.old_blob is not None):
            raise self.bad("a line about a mode behind this file's `index`, `---` or `+++`, where patch reads it in another manner")
        if not re.fullmatch(rb"[0-7]{5,7}", value):
            raise self.bad("a mode is six octal digits, such as 100644")
        if int(value, 8) & TYPE not in FILE_TYPES:
            raise self.bad("a mode is a file's (100644), a link's (120000) or a submodule's (160000)")
        mode = canonical_mode(int(value, 8))
        if what in (b"old mode", b"deleted file mode"):
            change.old_mode = mode
        else:
            change.new_mode = mode
        if what == b"new file mode":
            change.kind = "add"
        elif what == b"deleted file mode":
            change.kind = "delete"

    def side(self, change: Section, line: bytes) -> None:
        """``--- a/x`` or ``+++ b/x`` of a git diff."""
        old = line.startswith(b"--- ")
        if self.quilt and old != (not change.sides):
            raise self.bad("`---` and `+++` stand in another order, or twice")
        change.sides = (*change.sides, line[4:])
        path = self.path(self.undated(line[4:]) if self.quilt else line[4:].split(b"\t")[0])
        if path is None:
            if change.kind == "modify":
                change.kind = "add" if old else "delete"
            return
        if not path:
            raise self.bad(f"no path is left of this name without its first {self.strip} parts", remedy=self.prefixes())
        known = change.old_path if old else change.new_path
        if known and known != path:
            raise self.bad(f"this line names another file than the header before it, {shown(known)}")
        if old:
            change.old_path = path
        else:
            change.new_path = path

    def hunks(self, change: Section) -> None:
        """The hunks that follow."""
        if not change.hunks and not self.starts(0, HUNK) and self.quilt and self.hunk_follows(self.at):
            while not self.starts(0, HUNK):
                self.take("text before the first hunk", self.lines[self.at : self.at + 1])
                self.at += 1
        while self.starts(0, HUNK):
            if self.quilt and PADDED.match(self.lines[self.at]):
                raise self.bad("a number of this hunk header begins with 0, and patch reads it in its own way")
            try:
                hunk, self.at = diff.parse_hunk(self.file.removesuffix(".patch"), self.lines, self.at)
            except ValueError:  # a number of thousands of digits
                raise self.bad("cannot read this hunk header") from None
            if self.quilt and ((hunk.old and not hunk.start) or (hunk.new and not hunk.new_start)):
                raise self.bad("the hunk before this line has lines on a side that it numbers 0")
            change.hunks.append(hunk)
            self.found.parts["hunks"] += hunk.size

    # -- plain forms --------------------------------------------------------------------------------------------

    def plain(self) -> Section:
        """One file of a unified diff without git's header."""
        sides = [self.lines[self.at][4:], self.lines[self.at + 1][4:]]
        change = self.named(sides, crs=self.lines[self.at].endswith(b"\r\n"))
        if self.quilt and sides[0].endswith(b"\r\n") != sides[1].endswith(b"\r\n"):
            raise self.bad("one of this file's two lines ends in CR LF and one does not")
        self.take("diff headers", self.lines[self.at : self.at + 2])
        self.at += 2
        self.hunks(change)
        return self.kind(change, sides)

    def context(self) -> Section:
        """One file of a context diff, which patch takes and git does not."""
        sides = [self.lines[self.at][4:], self.lines[self.at + 1][4:]]
        if not self.quilt:
            raise self.bad("a context diff, which git am does not take", remedy="put it in a folder with a quilt `series` file, or have it made by `diff -u`")
        change = self.named(sides, crs=self.lines[self.at].endswith(b"\r\n"))
        self.take("diff headers", self.lines[self.at : self.at + 2])
        self.at += 2
        while self.starts(0, b"*" * 15):
            try:
                hunk, self.at = contexts.hunk(self.lines, self.at)
            except ValueError as error:
                raise self.bad(f"this context diff cannot be read ({error})") from None
            change.hunks.append(hunk)
            self.found.parts["hunks"] += hunk.size
        return self.kind(change, sides)

    def named(self, sides: list[bytes], *, crs: bool) -> Section:
        """A change of the file that a plain diff's two lines name."""
        if self.quilt and any(re.search(rb"[\x00-\x1f\x7f]", self.undated(each)) for each in sides):
            raise self.bad("a control character in this file's name, which diff would have quoted")
        if self.quilt and any(each.startswith(b'"') and not re.match(rb'"(?:[^"\\]|\\.)*"', each) for each in sides):
            raise self.bad("a quote in this file's name does not end")
        names = [self.path(re.sub(rb"/+", b"/", self.undated(each))) for each in sides]
        old, new = names[0] or names[1], names[1] or names[0]
        if not old or not new or (self.quilt and b"" in names):
            raise self.bad(f"no path is left of this name without its first {self.strip} parts", remedy=self.prefixes())
        if self.quilt:  # as patch chooses: the fewest parts, the shortest last part, the shortest; and the other, where only that is there
            kept, other = sorted((old, new), key=lambda each: (each.count(b"/"), len(each.rpartition(b"/")[2]), len(each)))
        else:
            kept, other = (old, new) if len(old) < len(new) and new.startswith(old) else (new, old)  # x and x.orig: the shorter
        return Section(kept, kept, other=other, crs=crs)

    def undated(self, text: bytes) -> bytes:
        """The name before a date."""
        text = text.rstrip(b"\r\n")
        if text.startswith(b'"') and (quoted := re.match(rb'"(?:[^"\\]|\\.)*"', text)):
            return quoted[0]
        if b"\t" in text:
            return text.split(b"\t")[0]
        text = DATED.sub(b"", text).rstrip()
        return text.split(b" ")[0] if self.quilt else text

    def kind(self, change: Section, sides: list[bytes]) -> Section:
        """Whether a plain diff makes or removes its file: /dev/null, a date of 1970, or nothing on that side."""
        old, new = any(hunk.old for hunk in change.hunks), any(hunk.new for hunk in change.hunks)
        dated = [is_epoch(each, quilt=self.quilt) for each in sides]
        for side, lines, epoch in zip(sides, (old, new), dated, strict=True):
            if not lines and epoch is None:
                raise self.bad(f"a date that may say that there is no file: {shown(side.strip())[:60]!r}", self.at - 1)
        begins = (change.hunks[0].start, change.hunks[0].new_start or 0) if change.hunks else (0, 0)
        null = [self.path(self.undated(each)) is None for each in sides]
        gone = [none or epoch for none, epoch in zip(null, dated, strict=True)]
        if (gone[0] and not old and begins[0]) or (gone[1] and not new and begins[1]):
            raise self.bad("there is no file on one side, and the hunk has a line number there", self.at - 1)
        if not old and (gone[0] or (len(change.hunks) == 1 and change.hunks[0].start == 0)):
            return replace(change, kind="add", perhaps=self.quilt and not gone[0])
        if gone[1] and not new:
            return replace(change, kind="delete")
        if null[0] or null[1]:
            raise self.bad(f"this file is {'new' if null[0] else 'deleted'}, and its hunks say otherwise", self.at - 1)
        return change


def both_names(change: Section, name: bytes) -> tuple[bytes, bytes]:
    """The old and the new path of a git section. name: what its first line says, where that is one."""
    if change.kind == "add":
        return (change.new_path or name,) * 2
    if change.kind == "delete":
        return (change.old_path or name,) * 2
    return (change.old_path or name, change.new_path or name) if change.kind == "modify" else (change.old_path, change.new_path)


def reversed_change(file: str, change: Section) -> Section:
    """The change that takes this one back."""
    if change.binary is not None or change.unseen:
        raise BadInput(f"{file}:{change.line}: {shown(change.new_path)} is binary, and its way back (-R) cannot be taken",
                       "have the patch written the other way round: `git diff -R --binary`, and its line in the series without -R")  # fmt: skip
    if change.kind == "copy":
        raise BadInput(f"{file}:{change.line}: -R of a copy, {shown(change.new_path)}", "have the patch written the other way round, without -R")
    kind = {"add": "delete", "delete": "add"}.get(change.kind, change.kind)
    grown, hunks = 0, []
    for each in change.hunks:
        start = each.new_start if each.new_start is not None else each.start - bool(each.old) + grown + bool(each.new)
        hunks.append(Hunk(start, each.new, each.old, each.start))
        grown += len(each.new) - len(each.old)
    return replace(change, kind=kind, old_path=change.new_path, new_path=change.old_path, old_mode=change.new_mode, new_mode=change.old_mode,
                   old_blob=change.new_blob, new_blob=change.old_blob, hunks=hunks)  # fmt: skip


def refuse_lost(file: str, text: bytes) -> None:
    """BadInput for a line before the first diff that patch would take for a part of one."""
    for number, line in enumerate(text.split(b"\n"), 1):
        if what := lost(line, quilt=True):
            raise BadInput(f"{file}:{number}: {what}: {shown(line.rstrip())[:80]!r}", f"{AS_TEXT}; else {AGAIN}")


def canonical_mode(mode: int) -> str:
    """The mode that git stores for a file of this one."""
    kind = mode & TYPE
    if kind in (0o120000, 0o160000):
        return f"{kind:06o}"
    return "100755" if mode & 0o100 else "100644"


def is_epoch(text: bytes, *, quilt: bool) -> bool | None:
    """Whether a name's date is the beginning of 1970, by which GNU diff says that there is no file; None where that cannot be told.

    git asks for that moment itself; patch, which knows no zones in some dates, for a time that it is somewhere.
    """
    if re.search(rb"[ \t].*(69|70)", text) is None:
        return False
    if match := DATE.search(text):
        day, time, hours, minutes = (each.decode() for each in match.groups())
        try:
            seconds = datetime.strptime(f"{day} {time} {hours}{minutes}", "%Y-%m-%d %H:%M:%S %z").timestamp()
        except ValueError:  # a day that no month has
            return None
        return ZONES[0] < seconds < ZONES[1] if quilt else seconds == 0 and MOMENT.search(text) is not None
    if not quilt:
        return False
    match = CTIME.search(text)
    return (match[1] == b"1970") if match else None


def without_crs(change: Section) -> Section:
    """The change with every CR before a line's end taken off, as mail and patch take them off."""

    def plain(lines: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return tuple(line[:-2] + b"\n" if line.endswith(b"\r\n") else line.removesuffix(b"\r") for line in lines)

    return replace(change, crs=False, hunks=[replace(each, old=plain(each.old), new=plain(each.new)) for each in change.hunks])
