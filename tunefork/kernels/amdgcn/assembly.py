"""An amdgcn text as data: instructions with operands and source lines, labels, loops, descriptor directives, metadata.

The text is LLVM's own assembler output, of Triton for one kernel and of HIP for several, so that no disassembler is needed (docs/decisions/0020).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tunefork.kernels.amdgcn.errors import BadAssembly

TARGET = re.compile(r'^\s*\.amdgcn_target "[^"]*-gfx950[":]', re.M)  # the triple before it differs between LLVM versions
LABEL = re.compile(r"^([.\w$]+):")
DIRECTIVE = re.compile(r"^\s+\.amdhsa_(\w+)\s+(-?\d+)")
FILE = re.compile(r'^\s+\.file\s+(\d+)\s+"[^"]*"(?:\s+"([^"]*)")?')
LOC = re.compile(r"^\s+\.loc\s+(\d+)\s+(\d+)")
METADATA_NUMBER = re.compile(r"^\s+(?:- )?\.(\w+):\s+(\d+)\s*$")
ARGUMENT = re.compile(r"\.offset:\s+(\d+)\s+\.size:\s+(\d+)\s+\.value_kind:\s+(\w+)")
BRANCH = re.compile(r"s_c?branch")
CLOSES = {"[": "]", "(": ")"}


@dataclass(frozen=True)
class Instruction:
    """One machine instruction as printed.

    operands: "v1", "s[0:1]", "-v2", "|v3|", "0x3f800000", "off", ... in the printed order.
    modifiers: "offset" -> "16", "op_sel" -> "[0,1,0]", flags such as "offen" -> "".
    source: "file.py:line" of the Triton source, as the debug information has it.
    flush: whether f32 denormals count as zero, on their way in and out: the kernel's mode.
    """

    index: int
    mnemonic: str
    operands: tuple[str, ...]
    modifiers: Mapping[str, str]
    text: str
    source: str
    flush: bool = False

    @property
    def base(self) -> str:
        """The mnemonic without its encoding suffix (_e32, _e64, _sdwa, _dpp)."""
        return re.sub(r"_(e32|e64|sdwa|dpp|e64_dpp)$", "", self.mnemonic)

    @property
    def where(self) -> str:
        """The instruction as errors quote it, with its source line where that is known."""
        return f"`{self.text}` ({self.source})" if self.source else f"`{self.text}`"


@dataclass(frozen=True)
class KernelArgument:
    """One explicit or hidden kernel argument: its place in the kernarg segment, in bytes."""

    offset: int
    size: int
    kind: str


@dataclass(frozen=True)
class Loop:
    """Instructions ``first``..``last`` (inclusive): a backward branch at ``last`` goes to ``first``."""

    first: int
    last: int


@dataclass(frozen=True)
class Program:
    """One kernel.

    labels: label -> index of the instruction that follows it.
    directives: ``.amdhsa_<name>`` -> value.  metadata: numbers of the kernel's metadata entry (``vgpr_spill_count``, ...).
    entry: first instruction when the firmware has preloaded kernel arguments (after the fallback prologue that loads them).
    code_bytes: size of the machine code.
    """

    name: str
    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]
    directives: Mapping[str, int]
    metadata: Mapping[str, int]
    arguments: tuple[KernelArgument, ...]
    entry: int
    code_bytes: int

    def target(self, branch: Instruction) -> int:
        """Index that a branch goes to."""
        label = branch.operands[0]
        if label not in self.labels:
            raise BadAssembly(f"{branch.where} goes to {label}, which the text does not define")
        return self.labels[label]

    def successors(self, index: int) -> list[int]:
        """Where control can go after an instruction."""
        instruction = self.instructions[index]
        following = [index + 1] if index + 1 < len(self.instructions) else []
        if instruction.mnemonic.startswith("s_endpgm"):
            return []
        if instruction.mnemonic == "s_branch":
            return [self.target(instruction)]
        return [*following, self.target(instruction)] if BRANCH.match(instruction.mnemonic) else following

    def reaches(self, start: int, goal: int) -> bool:
        """Whether control can come from ``start`` to ``goal``."""
        seen, todo = {start}, [start]
        while todo:
            index = todo.pop()
            if index == goal:
                return True
            fresh = [after for after in self.successors(index) if after not in seen]
            seen.update(fresh)
            todo.extend(fresh)
        return False

    def loops(self) -> list[Loop]:
        """Every loop, found by its backward branches; loops with the same head count once, with the last branch.

        A block that the compiler put behind its continuation also ends in a backward branch, but cannot be reached from there.
        """
        last: dict[int, int] = {}
        for instruction in self.instructions:
            if BRANCH.match(instruction.mnemonic):
                head, tail = self.target(instruction), instruction.index
                if head <= tail and self.reaches(head, tail):
                    last[head] = max(last.get(head, -1), tail)
        return [Loop(head, tail) for head, tail in sorted(last.items())]

    def innermost_loops(self) -> list[Loop]:
        """The loops that contain no other loop."""
        loops = self.loops()
        return [
            outer
            for outer in loops
            if not any(inner != outer and outer.first <= inner.first and inner.last <= outer.last for inner in loops)
        ]

    def body(self, loop: Loop) -> tuple[Instruction, ...]:
        """The instructions of a loop, the branch back included."""
        return self.instructions[loop.first : loop.last + 1]


def tokens(text: str, separators: str) -> list[str]:
    """Split at separators that stand outside brackets, parentheses and quotes; empty pieces are dropped."""
    pieces, start, expected = [], 0, ""
    for at, character in enumerate(text):
        if expected:
            if character == expected:
                expected = ""
        elif character in CLOSES:
            expected = CLOSES[character]
        elif character in separators:
            pieces.append(text[start:at].strip())
            start = at + 1
    pieces.append(text[start:].strip())
    return [piece for piece in pieces if piece]


def parse_instruction(line: str, index: int = 0, source: str = "") -> Instruction:
    """Read one instruction, for example ``ds_read_b128 v[0:3], v9 offset:16``."""
    text = " ".join(line.split())
    mnemonic, _, rest = text.partition(" ")
    operands: list[str] = []
    modifiers: dict[str, str] = {}
    for part in tokens(rest, ","):
        words = tokens(part, " ")
        if mnemonic == "s_waitcnt":
            words = ["", *words]
        if words[0]:
            operands.append(words[0])
        for word in words[1:]:
            name, _, value = word.partition(":")
            modifiers[name] = value
    return Instruction(index, mnemonic, tuple(operands), modifiers, text, source)


@dataclass
class _Reader:
    """What has been read of the text so far."""

    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    aligned: list[int] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    source: str = ""
    in_code: bool = False

    def line(self, line: str, name: str) -> None:
        if label := LABEL.match(line):
            self.in_code = self.in_code or label[1] == name
            if label[1].startswith(".Lfunc_end"):
                self.in_code = False
            self.labels[label[1]] = len(self.instructions)
        elif found := FILE.match(line):
            self.files[found[1]] = found[2] or ""
        elif not self.in_code:
            return
        elif found := LOC.match(line):
            self.source = f"{self.files.get(found[1], '?')}:{found[2]}" if found[2] != "0" else self.source
        elif line.startswith("\t.p2align"):
            self.aligned.append(len(self.instructions))
        elif line.startswith("\t.section"):
            self.in_code = False
        elif line.startswith("\t") and line[1:2].isalpha():
            code = line.split(";", maxsplit=1)[0].split("//", maxsplit=1)[0].strip()
            self.instructions.append(parse_instruction(code, len(self.instructions), self.source))


def kernel_names(text: str) -> list[str]:
    """The kernels of a text, in order; a HIP source compiles into one text with all of its own."""
    return re.findall(r"^\s+\.amdhsa_kernel\s+(\S+)", text, re.M)


def descriptor(code: str, name: str) -> str:
    """The directives of one kernel's descriptor."""
    found = re.search(rf"^\s+\.amdhsa_kernel\s+{re.escape(name)}\n(.*?)^\s+\.end_amdhsa_kernel", code, re.M | re.S)
    return found[1] if found else code


def metadata_entry(tail: str, name: str) -> str:
    """One kernel's entry of the metadata; all of it where it is not split into entries."""
    entries = re.split(r"^  - ", tail, flags=re.M)
    return next((entry for entry in entries if re.search(rf"^\s*\.name:\s+{re.escape(name)}\s*$", entry, re.M)), tail)


def parse(text: str, kernel: str = "") -> Program:
    """Read one kernel of an amdgcn text: its only one, or ``kernel``.

    Errors: BadAssembly where there is no kernel, none of that name, more than one and no name, or it was made for another chip.
    """
    names = kernel_names(text)
    if kernel and kernel not in names:
        raise BadAssembly(f"the text has no kernel {kernel}; it has {', '.join(names) or 'none'}")
    if len(names) != 1 and not kernel:
        raise BadAssembly(f"expected the text of one kernel, found {len(names)}: {', '.join(names) or 'none'}", "name one of them")
    name = kernel or names[0]
    if not TARGET.search(text):
        raise BadAssembly(f"{name} was not compiled for gfx950", "compile it with GPUTarget('hip', 'gfx950', 64)")
    code, _, tail = text.partition("\t.amdgpu_metadata")
    tail = metadata_entry(tail, name)
    reader = _Reader()
    for line in code.splitlines():
        reader.line(line, name)
    directives = {found[1]: int(found[2]) for line in descriptor(code, name).splitlines() if (found := DIRECTIVE.match(line))}
    metadata = {found[1]: int(found[2]) for line in tail.splitlines() if (found := METADATA_NUMBER.match(line))}
    arguments = tuple(KernelArgument(int(o), int(s), k) for o, s, k in ARGUMENT.findall(tail))
    size = re.compile(r"codeLenInByte = (\d+)").search(code, max(code.find(f"\n{name}:"), 0))
    preloads = directives.get("user_sgpr_kernarg_preload_length", 0)
    entry = next((index for index in reader.aligned if index), 0) if preloads else 0
    return Program(
        name=name,
        instructions=tuple(reader.instructions),
        labels=reader.labels,
        directives=directives,
        metadata=metadata,
        arguments=arguments,
        entry=entry,
        code_bytes=int(size[1]) if size else 0,
    )
