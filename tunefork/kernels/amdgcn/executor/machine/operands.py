"""Operands as printed: registers, constants and the modifiers written around them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tunefork.kernels.amdgcn.errors import UnknownInstruction

VCC, M0, EXEC = 106, 124, 126
NAMED = {
    "vcc": (VCC, 2),
    "vcc_lo": (VCC, 1),
    "vcc_hi": (VCC + 1, 1),
    "exec": (EXEC, 2),
    "exec_lo": (EXEC, 1),
    "exec_hi": (EXEC + 1, 1),
    "m0": (M0, 1),
    "flat_scratch": (102, 2),
    "xnack_mask": (104, 2),
}
REGISTER = re.compile(r"^(v|s|a|ttmp)(?:(\d+)|\[(\d+):(\d+)\])$")
INTEGER = re.compile(r"^-?(0x[0-9a-f]+|\d+)$")
NEGATED = re.compile(r"^neg\((.+)\)$")  # a constant's sign modifier, which -0 could not show
FLOAT = re.compile(r"^-?\d+\.\d+$")
ACCUMULATOR_KEY, SCALAR_KEY = 512, 1024  # register keys: vector registers come first


@dataclass(frozen=True)
class Operand:
    """One operand.

    bank: "v" vector, "a" accumulator, "s" scalar register, "i" integer constant, "f" float constant, "scc", or "off".
    index, count: first register and number of 32-bit registers.
    value: the constant: an int for "i" (a 32-bit pattern or a signed number), a float for "f".
    negate, absolute, sign_extend: ``-x``, ``|x|``, ``sext(x)``.
    """

    bank: str
    index: int = 0
    count: int = 1
    value: float = 0
    negate: bool = False
    absolute: bool = False
    sign_extend: bool = False

    @property
    def keys(self) -> frozenset[int]:
        """One number for each 32-bit register, for hazard checks."""
        base = {"v": 0, "a": ACCUMULATOR_KEY, "s": SCALAR_KEY}.get(self.bank)
        if base is None:
            return frozenset()
        return frozenset(range(base + self.index, base + self.index + self.count))

    @property
    def is_constant(self) -> bool:
        return self.bank in "if"


def key_name(key: int) -> str:
    """The register's printed name."""
    if key >= SCALAR_KEY:
        return f"s{key - SCALAR_KEY}"
    return f"a{key - ACCUMULATOR_KEY}" if key >= ACCUMULATOR_KEY else f"v{key}"


def parse_operand(text: str) -> Operand:
    """Read one operand. Errors: UnknownInstruction for a form that gfx950 code from Triton has not shown yet."""
    if found := NEGATED.match(text):
        return replace(parse_operand(found[1]), negate=True)
    if FLOAT.match(text):
        return Operand("f", value=float(text))
    if INTEGER.match(text):
        return Operand("i", value=int(text, 0))
    inner, negate, absolute, extend = text, False, False, False
    if inner.startswith("-"):
        inner, negate = inner[1:], True
    if inner.startswith("|") and inner.endswith("|"):
        inner, absolute = inner[1:-1], True
    if inner.startswith("sext(") and inner.endswith(")"):
        inner, extend = inner[5:-1], True
    index, count = 0, 1
    if found := REGISTER.match(inner):
        bank = found[1]
        index = int(found[2] or found[3])
        count = 1 if found[2] else int(found[4]) - index + 1
        if bank == "ttmp":
            bank, index = "s", index + 108
    elif inner in NAMED:
        bank, (index, count) = "s", NAMED[inner]
    elif inner in ("scc", "src_scc"):
        bank = "scc"
    elif inner in ("off", "null"):
        bank = "off"
    else:
        raise UnknownInstruction(f"operand `{text}` has no meaning here")
    return Operand(bank, index, count, negate=negate, absolute=absolute, sign_extend=extend)
