"""A second opinion on the executor: every operation that AMD's pseudo-code of the CDNA ISA document tells, on random and edge inputs.

The texts come from tinygrad, which generates them from AMD's document: `pip install --no-deps tinygrad==0.14.0` (pyproject's extra
`oracle`). Without it this file skips. Nothing of tinygrad's own runs: pseudocode.py reads the texts.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budgets import examples
from loading import module

from tunefork.kernels.amdgcn.assembly import parse_instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.decode import decode_instruction
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC, VCC
from tunefork.kernels.amdgcn.opcodes.form import forms

pseudocode: Any = module("amd_pseudocode", Path(__file__).parents[1] / "pseudocode.py")
faults: Any = module("seeded_faults_told", Path(__file__).with_name("seeded_faults.py"))

PINNED = "0.14.0"
INPUTS = max(64, -(-examples(1024) // 64) * 64)  # 256 in a usual run, 1024 with --long


def texts() -> dict[str, tuple[str, str]]:
    """Operation -> encoding and pseudo-code, where the pinned tinygrad is installed."""
    try:
        if importlib.metadata.version("tinygrad") != PINNED:
            return {}
        from tinygrad.runtime.autogen.amd.cdna.str_pcode import PCODE  # type: ignore[import-not-found]
    except ImportError:
        return {}
    return {f"{type(key).__name__.removesuffix('Op')}.{key.name.lower()}": (type(key).__name__.removesuffix("Op"), text) for key, text in PCODE.items()}


TEXTS = texts()
BY_NAME = {name.partition(".")[2].removesuffix("_e32").removesuffix("_e64"): text for name, (_, text) in TEXTS.items()}
pytestmark = pytest.mark.skipif(not TEXTS, reason=f"needs AMD's pseudo-code: pip install --no-deps tinygrad=={PINNED}")

TYPE = re.compile(r"\bS(\d)((?:\[[^\]]*\])*)(?:\.(\w+))?")
PROBE = 0x78  # the truth table of a v_bitop3
LITERAL = 0x40490FDB


@dataclass
class Operation:
    """One operation to compare.

    line: the instruction as the executor reads it.  sources: the type of each source.  result: bits of the destination register.
    mask: whether the destination is a bit for each lane.  carry: whether another bit for each lane is written.
    before: what the instruction's modifiers do to the sources' bits, ahead of the pseudo-code.
    """

    name: str
    encoding: str
    text: str
    line: str
    sources: list[str]
    result: int
    kind: str
    mask: bool = False
    carry: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    before: Callable[[int, int], int] = lambda source, bits: bits

    def __str__(self) -> str:
        return self.line


def types_of(text: str) -> list[str]:
    """The types of S0, S1, ... as their first use tells, the widest width that any use asks for."""
    found: dict[int, tuple[str, int]] = {}
    for number, ranges, kind in TYPE.findall(text):
        member = pseudocode.member(kind) if kind else None
        letter, width = member or ("u", 32)
        high = [int(value) for value in re.findall(r"\[(\d+) :", ranges)]
        width = 64 if width == 64 or any(value > 31 for value in high) else 32 if letter in "uib" or ranges else width
        letter = {"f": f"f{member[1]}" if member else "", "b": "u", "i": "u"}.get(letter, letter)
        at, before = int(number), found.get(int(number))
        if before is None or before[0] == "u":
            found[at] = (letter, max(width, before[1] if before else 0))
        elif width == 64:
            found[at] = (before[0], 64)
    return [f"{found[at][0]}/{found[at][1]}" if at in found else "u/32" for at in range(max(found, default=-1) + 1)]


def registers(index: int, bits: int) -> str:
    return f"v{index}" if bits <= 32 else f"v[{index}:{index + bits // 32 - 1}]"


def scalars(index: int, bits: int) -> str:
    return f"s{index}" if bits <= 32 else f"s[{index}:{index + bits // 32 - 1}]"


def bits_of(source: str) -> int:
    return 64 if source.endswith("/64") else 32


def result_of(text: str) -> tuple[int, str]:
    """Bits of the destination and the type that is written to it."""
    kinds = [pseudocode.member(kind) for kind in re.findall(r"\bD0?(?:\[[^\]]*\])?\.(\w+) ?[+-]?=", text)]
    kind = next((letter for letter, _ in filter(None, kinds)), "u")
    wide = re.search(r"\bD0\.u64\[S0", text) or re.search(r"\bD0\.\w64(\[[^\]]*\])? [+-]?=[^=]", text) or any(width >= 64 for _, width in filter(None, kinds)) or "D0[63" in text or "D0.u32[63" in text
    narrow = kinds and all(item and item[1] <= 16 for item in kinds) and "D0[" not in text and "D0 =" not in text
    width = 64 if wide else 16 if narrow else 32
    return width, f"{kind}{width}"


def vector_operation(name: str, encoding: str, text: str) -> Iterator[Operation]:  # noqa: C901 - what each encoding prints, in order
    """The forms of a vector operation: as it is, and with what its encoding may change about sources."""
    mnemonic, sources = name, types_of(text) if name != "v_pk_mov_b32" else ["u/64", "u/64"]
    if encoding == "VOP3" and not mnemonic.endswith("_e64") and f"{mnemonic}_e64" in BY_NAME:
        mnemonic += "_e64"
    if not sources and (found := re.match(r"v_cmpx?_\w+?_([uif])(16|32|64)", name)):  # v_cmp_f, v_cmp_t: the text names no source
        sources = [f"{'f' + found[2] if found[1] == 'f' else 'u'}/{max(int(found[2]), 32)}"] * 2
    width, kind = result_of(text)
    if name.startswith("v_mad_") and "64_" in name:  # the text writes the 65 bits in one go
        width = 64
    places = [registers(2 * at, bits_of(source)) for at, source in enumerate(sources)]
    mask = "D0.u64[laneId]" in text
    carry = "VCC.u64[laneId] =" in text or "VCC = 0x" in text or re.search(r"\bD1\.", text) is not None
    pair = "vcc" if encoding in ("VOP2", "VOPC") else "s[8:9]"
    parts = [pair] if mask else [registers(10, width)]
    if carry and not mask:
        parts.append(pair)
    parts += places
    if "cndmask" in name or (re.search(r"VCC\.u64\[laneId\](\.\w+)?[^=\n]*$", text, re.M) and re.search(r"v_(addc|subb|subbrev)_co", name)):
        parts.append("vcc")
    values: dict[str, Any] = {"PROBE": 0}
    suffix = ""
    if "bitop3" in name:
        values["TTBL"], suffix = pseudocode.Value("b", 32, PROBE), f" bitop3:{PROBE:#x}"
    if "SIMM32" in text:
        values["SIMM32"] = pseudocode.Value("b", 32, LITERAL)
        parts.insert(len(parts) - ("fmamk" in name), f"{LITERAL:#x}")
    base = Operation(name, encoding, text, "", sources, width, kind, mask, carry, values)

    def form(places_of: list[str], tail: str = "", **more: Any) -> Operation:
        return Operation(**{**base.__dict__, "line": f"{mnemonic} {', '.join(places_of)}{suffix}{tail}", **more})

    zero = {"OPSEL": pseudocode.Value("u", 4, 0), "OPSEL_HI": pseudocode.Value("u", 3, 0)}
    if "OPSEL" in text:
        for select in (0, 1, 2, 3, 8, 12) if "scalef32" in name else (0, 1, 2, 3) if "pk_mov" in name else (0,):
            bits = [select >> at & 1 for at in range(4)]
            listed = bits if "scalef32" in name else bits[:2]
            if re.search(r"_pk_[fb]p?f?8_", name):  # one bit for each source, one for the destination
                listed = [*bits[: len(sources)], bits[3]]
            given = {**values, **zero, "OPSEL": pseudocode.Value("u", 4, select)}
            yield form(parts, f" op_sel:[{','.join(map(str, listed))}]" if select else "", values=given)
        return
    yield form(parts)
    floats = [source for source in sources if source.startswith("f")]
    if encoding == "VOP3" and floats and len(floats) == len(sources) and "SIMM" not in text and not mask:
        first = len(parts) - len(places)
        sign = {"f16": 15, "f32": 31, "f64": 63}

        def changed(source: int, bits: int) -> int:
            top = 1 << sign[sources[source].partition("/")[0]]
            return bits ^ top if source == 0 else bits & ~top if source == 1 else bits

        signed = [*parts[:first], f"-{places[0]}", *(f"|{place}|" for place in places[1:2]), *parts[first + 2 :]]
        yield form(signed, before=changed)
    if encoding == "VOP3P" and all(bits_of(source) == 32 for source in sources) and name.startswith("v_pk"):
        swapped = f" op_sel:[{','.join('1' * len(sources))}] op_sel_hi:[{','.join('0' * len(sources))}]"
        yield form(parts, swapped, before=lambda source, bits: (bits >> 16 | bits << 16) & 0xFFFFFFFF)


def scalar_operation(name: str, encoding: str, text: str) -> Iterator[Operation]:
    sources = types_of(text)
    width, kind = result_of(text)
    places = [scalars(4 + 2 * at, bits_of(source)) for at, source in enumerate(sources)]
    target = [scalars(8, width)] if re.search(r"\bD0\b", text) else []
    base = Operation(name, encoding, text, "", sources, width, kind)
    if encoding != "SOPK":
        yield Operation(**{**base.__dict__, "line": f"{name} {', '.join([*target, *places])}"})
        return
    for constant in (0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x1234):
        fixed = {("S1" if "cmpk" in name else "S0"): pseudocode.Value("b", 64, constant)}
        given = [scalars(4, 32)] if "cmpk" in name else target
        yield Operation(**{**base.__dict__, "line": f"{name} {', '.join([*given, f'{constant:#x}'])}", "values": fixed})


def memory_operation(name: str, encoding: str, text: str) -> Iterator[Operation]:
    """Atomics and narrow loads and stores that touch one place: every lane its own eight bytes."""
    if re.search(r"MEM\[addr \+|addr1|OFFSET\.u32|DATA0", text):
        return
    data = 64 if re.search(r"DATA\d?\.\w64|DATA\[63", text) or "_x2" in name else 32
    back = data if "cmpswap" not in name else data // (1 if "x2" in name else 2)
    if "cmpswap_x2" in name:
        data, back = 128, 64
    sources, _ = [f"{'f' + name[-2:] if name[-3:] in ('f32', 'f64') else 'u'}/{data}"], None
    base = Operation(name, encoding, text, "", sources, 64, "u64")
    if encoding == "DS":
        returns = "rtn" in name or "_read_" in name
        places = [registers(10, back)] if returns else []
        places += ["v6"] + ([] if "_read_" in name else [registers(2, data)] + ([registers(4, data)] if "DATA2" in text else []))
        yield Operation(**{**base.__dict__, "line": f"{name} {', '.join(places)}"})
        return
    if "load" in name:
        yield Operation(**{**base.__dict__, "line": f"{name} v10, v[6:7], off"})
    elif "store" in name:
        yield Operation(**{**base.__dict__, "line": f"{name} v[6:7], {registers(2, data)}, off"})
    elif "atomic" in name:
        yield Operation(**{**base.__dict__, "line": f"{name} {registers(10, back)}, v[6:7], {registers(2, data)}, off sc0"})


LEFT_OUT = {
    r"mfma|smfmac": "matrix products: the document gives D = A x B + C and no layout; test_mfma.py, by formulas of another origin",
    r"v_(readfirstlane|readlane|writelane|permlane\w+|mbcnt_\w+|swap)_b32|v_mbcnt": "between lanes: test_crosslane.py and test_valu.py",
    r"s_(getpc|setpc|swappc|rfe|cbranch|call|set_gpr|setvskip|movrel|setreg|getreg|wqm|quadmask)": "changes the machine's state, or graphics",
    r"ds_(swizzle|permute|bpermute|read_addtid|write_addtid|condxchg)": "between lanes: test_lds.py",
    r"ds_(read|write)2|wrxchg2|_b96|_b128|dwordx[234]|ds_(read|write)_b(32|64)$|load_dword|store_dword|_tr_|lds": "wide and paired: test_lds.py, test_vmem.py",
    r"v_div_fixup_legacy_f16|v_(mad|fma)_legacy_f16|v_mac_f16|v_madmk|v_madak|v_trig_preop|v_cvt_off|v_interp": "no compiler for gfx950 makes them",
}


def operations() -> Iterator[Operation]:
    for full, (encoding, text) in TEXTS.items():
        name = full.partition(".")[2]
        if any(re.search(pattern, name) for pattern in LEFT_OUT):
            continue
        if encoding in ("VOP1", "VOP2", "VOP3", "VOP3SD", "VOPC", "VOP3P"):
            yield from vector_operation(name, encoding, text)
        elif encoding in ("SOP1", "SOP2", "SOPC", "SOPK"):
            yield from scalar_operation(name, encoding, text)
        elif encoding in ("DS", "GLOBAL"):
            yield from memory_operation(name, encoding, text)


# ---- inputs

EDGE_NUMBERS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.5, -2.5, 0.3, -0.3, 2.0, 65504.0, 1e-3, 255.5, -7.0]
EDGE_INTEGERS = [0, 1, 2, 3, 7, 8, 15, 16, 24, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFF, 0x800000, 0x7FFFFFFF,
                 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x80008000, 0x7FFF7FFF, 0x00010001, 0xFFFF0000]  # fmt: skip


@functools.cache
def float_patterns(bits: int) -> list[int]:
    """Numbers, and the ends of each class: denormals, infinities, NaNs of both kinds."""
    form = pseudocode.FORMATS["f", bits]
    top, one = (1 << form.exponent) - 1 << form.mantissa, 1 << form.mantissa
    plain = [0, 1, one - 1, one, one + 1, top - 1, top, top | 1, top | one >> 1, top | one >> 1 | 5]
    return [word | sign << bits - 1 for word in plain for sign in (0, 1)] + [pseudocode.encode(x, "f", bits).bits for x in EDGE_NUMBERS]


def draw(source: str, random: np.random.Generator, count: int) -> list[int]:
    """Bit patterns of one source: edges, patterns of any kind, and numbers of moderate size."""
    kind, _, width = source.partition("/")
    bits = 128 if width == "128" else int(width) if kind == "u" else {"f16": 16, "f32": 32, "f64": 64}.get(kind, 32)
    anything = [int(word) for word in random.integers(0, 2**32, count)]
    if bits >= 64:
        anything = [low | int(high) << 32 for low, high in zip(anything, random.integers(0, 2**32, count), strict=True)]
    if kind.startswith("f"):
        edges = float_patterns(bits)
        around = [pseudocode.float_value(float(x), bits).bits for x in random.standard_normal(count) * np.exp2(random.integers(-6, 7, count))]
        anything = [word & ((1 << bits) - 1) for word in anything]
        lost = {32: 16, 64: 29}.get(bits)  # bits that bf16 has not of f32, and f32 not of f64: every fourth number lies half-way
        if lost:
            anything[::4] = [word >> lost << lost | 1 << lost - 1 for word in anything[::4]]
    else:
        edges = [*EDGE_INTEGERS, *(word << 32 for word in EDGE_INTEGERS), 2**64 - 1] if bits >= 64 else EDGE_INTEGERS
        around = [int(x) for x in random.integers(0, 70, count)]
        halves = float_patterns(16)  # two f16 values, where the word holds some
        around[::2] = [halves[int(a)] | halves[int(b)] << 16 for a, b in random.integers(0, len(halves), (len(around[::2]), 2))]
    which = random.integers(0, 4, count)
    chosen = [edges[int(at)] for at in random.integers(0, len(edges), count)]
    found = [(e, e, a, r)[int(w)] for w, e, a, r in zip(which, chosen, anything, around, strict=True)]
    above = np.zeros(count, int)
    if bits == 16:  # the other half: of a pair, or not read
        above = np.array([float_patterns(16)[int(at)] for at in random.integers(0, 30, count)])
    return [word | int(high) << 16 for word, high in zip(found, above, strict=True)]


def inputs(operation: Operation, count: int) -> list[list[int]]:
    random = np.random.default_rng(zlib.crc32(operation.line.encode()))
    drawn = [draw(source, random, count) for source in operation.sources]
    for at in range(1, len(drawn)):
        if operation.sources[at] == operation.sources[0]:
            for lane in range(at, count, 9):
                drawn[at][lane] = drawn[0][lane]  # ties
    if operation.sources in (["f32/32"] * 3, ["f64/64"] * 3):  # (1 + u)(1 - u) + c, almost half-way between c and its neighbour
        form = pseudocode.FORMATS["f", bits_of(operation.sources[0])]
        one, above = form.bias << form.mantissa, form.bias + form.mantissa + 1 << form.mantissa
        for lane in range(7, count, 16):
            drawn[0][lane], drawn[1][lane], drawn[2][lane] = one | 1, one - 2, above | int(random.integers(0, 2**20))
    if "div_scale" in operation.name:  # the first source is one of the other two
        drawn[0] = [drawn[1 + lane % 2][lane] for lane in range(count)]
    return drawn


# ---- what is known to differ

@dataclass(frozen=True)
class Accepted:
    """A difference that is not a fault of the executor: the text is wrong, or promises no bits.

    names: of operations.  right: from the operation, the sources' bits and the lane's vcc bit to the right bits, by a formula of
    another origin, or None where nothing is promised of these inputs.  near: how far from ``right`` the result may be, as a number.
    reason: who is right, and why.
    """

    names: str
    reason: str
    right: Callable[[Operation, list[int], int], int | None]
    near: float = 0.0

    def holds(self, operation: Operation, sources: list[int], found: int, vcc: int) -> bool:
        if not re.search(self.names, operation.name):
            return False
        right = self.right(operation, [operation.before(at, word) for at, word in enumerate(sources)], vcc)
        if right is None:
            return True
        if not self.near:
            return agree(operation, operation.result, found, right)
        a, b = (pseudocode.number_of(pseudocode.Value("f", operation.result, bits & ((1 << operation.result) - 1))) for bits in (found, right))
        return bool(abs(a - b) <= self.near)


def number(operation: Operation, bits: int) -> float:
    width = {"f16": 16, "f32": 32, "f64": 64}[operation.sources[0].partition("/")[0]]
    return float(pseudocode.number_of(pseudocode.Value("f", width, bits & ((1 << width) - 1))))


def as_bits(operation: Operation, value: float) -> int:
    return int(pseudocode.float_value(value, operation.result).bits)


def nearest_even(operation: Operation, sources: list[int], vcc: int) -> int:
    x = number(operation, sources[0])
    return as_bits(operation, math.copysign(round(x), x) if math.isfinite(x) else x)


def fractional(operation: Operation, sources: list[int], vcc: int) -> int:
    x = number(operation, sources[0])
    below_one = pseudocode.Value("f", operation.result, pseudocode.encode(1.0, "f", operation.result).bits - 1)
    return int(below_one.bits) if x - math.floor(x) > pseudocode.number_of(below_one) else as_bits(operation, x - math.floor(x))


def exponent_of_two(operation: Operation, sources: list[int], vcc: int) -> int:
    x = number(operation, sources[0])
    return math.frexp(x)[1] & 0xFFFFFFFF if math.isfinite(x) else 0


def turns(function: Callable[[float], float]) -> Callable[[Operation, list[int], int], int | None]:
    """sin and cos of a number of turns, whose range the document limits to 256 either way."""

    def right(operation: Operation, sources: list[int], vcc: int) -> int | None:
        x = number(operation, sources[0])
        return None if not abs(x) <= 256 else as_bits(operation, function(2 * math.pi * math.fmod(x, 1)))

    return right


def scaled_back(operation: Operation, sources: list[int], vcc: int) -> int:
    width = operation.result
    values = [pseudocode.Value("f", width, bits & ((1 << width) - 1)) for bits in sources]
    power, total = {32: 64, 64: 128}[width], pseudocode.fused(*values)
    up = pseudocode.exponent(values[2]).number > pseudocode.FORMATS["f", width].bias
    return int(pseudocode.scaled(total, pseudocode.Power(Fraction(2) ** ((power if up else -power) if vcc else 0))).bits)


def beyond_the_largest(operation: Operation, sources: list[int], vcc: int) -> int:
    """The sign and infinity of a quotient that no number holds; -1, which agrees with nothing, where one does."""
    quotient, denominator, numerator = (number(operation, bits) for bits in sources)
    largest = {32: 3.5e38, 64: 1e300}[operation.result]
    over = math.isnan(quotient) and denominator and abs(numerator) > abs(denominator) * largest
    return as_bits(operation, math.copysign(math.inf, numerator) * math.copysign(1, denominator)) if over else -1


def scaled_for_division(operation: Operation, sources: list[int], vcc: int) -> int:
    """v_div_scale's rules with "denormal" of the operands' own width."""
    width = operation.result
    form = pseudocode.FORMATS["f", width]
    value, denominator, numerator = (pseudocode.Value("f", width, bits & ((1 << width) - 1)) for bits in sources)
    n, d = pseudocode.decode(numerator), pseudocode.decode(denominator)
    if not n or not d:
        return int(pseudocode.quiet_nan("f", width).bits)

    def denormal(x: Any) -> bool:
        return not isinstance(x, float) and 0 < abs(x) < Fraction(2) ** (1 - form.bias)

    finite = not isinstance(n, float) and not isinstance(d, float)
    inverse, quotient = not isinstance(d, float) and denormal(1 / d), finite and denormal(n / d)
    near, tiny, power = {32: (96, 23, 64), 64: (768, 53, 128)}[width]
    scale = 0
    if pseudocode.exponent(numerator).number - pseudocode.exponent(denominator).number >= near:
        scale = power * (value.bits == denominator.bits)
    elif denormal(d):
        scale = power
    elif inverse and quotient:
        scale = -power * (value.bits == denominator.bits)
    elif inverse:
        scale = -power
    elif quotient:
        scale = power * (value.bits == numerator.bits)
    elif pseudocode.exponent(numerator).number <= tiny:
        scale = power
    return int(pseudocode.scaled(value, pseudocode.Power(Fraction(2) ** scale)).bits)


ACCEPTED = (
    Accepted("v_rndne", "floor(x + 0.5) loses the sign of what rounds to zero, and rounds x + 0.5; meant is the nearest even", nearest_even),
    Accepted("v_fract", "x - floor(x) rounds to one for small negative x; the result is below one", fractional),
    Accepted("v_frexp_exp", "the exponent field of zero and of a denormal is not its exponent; frexp's of zero is 0", exponent_of_two),
    Accepted("v_sin", "the text rounds the argument's product with 2 pi to f32; beyond 256 turns nothing is promised", turns(math.sin), 2.0**-11),
    Accepted("v_cos", "as v_sin", turns(math.cos), 2.0**-11),
    Accepted("v_div_fmas", "2^32 (2^64) up alone cannot take back v_div_scale's 2^64 (2^128) up or down; the division sequence proves it", scaled_back),
    Accepted("v_div_scale", "asks whether an f32's inverse is a denormal f64, which none is, and scales a large denominator up", scaled_for_division),
    Accepted("v_div_fixup", "its overflow rule asks for S1's exponent 255, taken by the rules before it; meant is a quotient out of range", beyond_the_largest),
)


# ---- both sides

def executed(operation: Operation, given: list[list[int]], start: dict[str, np.ndarray[Any, Any]], bench: Callable[..., Any]) -> dict[str, list[int]]:
    """What the executor makes of the inputs: destination, lane bits, SCC, memory, each a number for every input."""
    count = len(start["D0"])
    scalar = operation.encoding.startswith("SOP")
    run = bench(waves=count if scalar else count // 64, lds=8 * count)
    step, _ = decode_instruction(parse_instruction(operation.line))
    batch = run.batch
    if scalar:
        for at, words in enumerate(given):
            batch.pairs[:, 2 + at] = np.array(words, np.uint64)
        batch.pairs[:, 4], batch.pairs[:, EXEC // 2], batch.scc[:] = start["D0"], start["EXEC"], start["SCC"] != 0
        batch.refresh_mask()
    else:
        shape = (count // 64, 64)
        for index, words in [(2 * at, words) for at, words in enumerate(given)]:
            for part in range(-(-max(32, int(operation.sources[index // 2].partition("/")[2])) // 32)):
                batch.vector[index + part] = np.array([word >> 32 * part & 0xFFFFFFFF for word in words], np.uint32).reshape(shape)
        if operation.encoding in ("DS", "GLOBAL"):
            batch.vector[2:6] = batch.vector[0:4].copy()
            place = np.arange(count, dtype=np.uint64).reshape(shape) * np.uint64(8)
            run.lds.data[: 8 * count] = run.data[: 8 * count] = start["MEM"].view(np.uint8)
            run.addresses(6, place) if operation.encoding == "GLOBAL" else batch.vector.__setitem__(6, place)
        batch.vector[10], batch.vector[11] = (
            (start["D0"] >> np.uint64(shift)).astype(np.uint32).reshape(shape) for shift in (0, 32)
        )  # fmt: skip
        batch.pairs[:, VCC // 2] = start["VCC"]
    with np.errstate(all="ignore"):
        step(batch)
    if scalar:
        return {"D0": batch.pairs[:, 4].tolist(), "SCC": batch.scc.astype(int).tolist(), "EXEC": batch.pairs[:, EXEC // 2].tolist()}
    low, high = batch.vector[10].ravel(), batch.vector[11].ravel().astype(np.uint64)
    masks = batch.pairs[:, VCC // 2] if re.match(r"\S+ (v\S+ )?vcc", operation.line) else batch.pairs[:, 4]
    lanes = [int(masks[at // 64]) >> at % 64 & 1 for at in range(count)]
    memory = (run.lds.data if operation.encoding == "DS" else run.data)[: 8 * count].view(np.uint64).tolist()
    return {"D0": (low | high << np.uint64(32)).tolist(), "lane": lanes, "MEM": memory}


def told(operation: Operation, given: list[int], start: dict[str, int], lane: int) -> dict[str, int]:
    """What the pseudo-code makes of one lane's inputs."""
    held = {f"S{at}": operation.before(at, word) for at, word in enumerate(given)}
    if operation.encoding in ("DS", "GLOBAL"):
        size = int(operation.sources[0].partition("/")[2])
        word = given[0]
        held = {"DATA": word, "VDATA": word if "store" in operation.name else start["D0"], "DATA2": start["DATA2"], "MEM": start["MEM"]}
        held |= {"RETURN_DATA": start["D0"], "ADDR": 0, "SADDR": 0, "OFFSET": 0, "OFFSET0": 0, "OFFSET1": 0}
        assert size
    held |= {name: start[name] for name in ("D0", "VCC", "EXEC") if name in start}
    if "div_scale" in operation.name:
        held["D0"] = held["S0"]  # the text only says what is scaled
    values = {"laneId": pseudocode.Value("i", 32, lane % 64), **operation.values}
    if "SCC" in start:
        values["SCC"] = pseudocode.Value("u", 1, start["SCC"])
    after = pseudocode.run(operation.text, held, BY_NAME, values)
    found = {name: after[name].view("b", 64).bits for name in ("D0", "SCC", "EXEC", "MEM") if name in after}
    if operation.encoding in ("DS", "GLOBAL"):
        found["D0"] = after["VDATA" if "load" in operation.name else "RETURN_DATA"].view("b", 64).bits
    if operation.mask:
        found["lane"] = found["D0"] >> lane % 64 & 1
    elif operation.carry:
        bits = after["D1"] if "D1" in after else after["VCC"]
        found["lane"] = bits.view("b", 64).bits >> (0 if "D1" in after or "VCC = 0x" in operation.text else lane % 64) & 1
    return found


ONE_ULP = re.compile(r"v_(rcp|rsq|sqrt|exp|log)_|v_rcp_iflag")


def agree(operation: Operation, width: int, found: int, wanted: int) -> bool:
    """Whether two results are the same: any NaN is any other; one step apart where the document promises no more."""
    mask = (1 << width) - 1
    found, wanted = found & mask, wanted & mask
    if found == wanted or (ONE_ULP.match(operation.name) and abs(found - wanted) == 1):
        return True
    return any(alike(found, wanted, width, *form) for form in floats_of(operation.text))


def floats_of(text: str) -> set[tuple[str, int]]:
    named = {pseudocode.member(word) for word in re.findall(r"\b(?:bf16|fp8|bf8|f16|f32|f64)(?=_|\b)", re.sub(r"f\d+_to_|_to_", " ", text))}
    return {form for form in named if form in pseudocode.FORMATS}


def alike(found: int, wanted: int, width: int, kind: str, bits: int) -> bool:
    """Whether all parts of some bits are equal, or both NaN."""
    for place in range(0, width, bits):
        a, b = (pseudocode.Value(kind, bits, word >> place & ((1 << bits) - 1)) for word in (found, wanted))
        if a != b and not (pseudocode.is_nan(a) and pseudocode.is_nan(b)):
            return False
    return True


def differences(operation: Operation, bench: Callable[..., Any], count: int) -> list[str]:
    """Every input on which the two differ and no accepted reason holds."""
    random = np.random.default_rng(zlib.crc32(operation.name.encode()) + 1)
    wide = {name: random.integers(0, 2**64, count, dtype=np.uint64) for name in ("D0", "EXEC", "MEM")}
    if operation.kind.startswith("f") and not operation.encoding.startswith("SOP"):
        wide["D0"] = np.array(draw(f"{operation.kind}/{operation.result}", random, count), np.uint64)
    if "bcnt" in operation.name:
        wide["D0"] = np.zeros(count, np.uint64)  # the text's SCC looks at 64 bits of a destination of 32
    start = {**wide, "SCC": random.integers(0, 2, count).astype(np.uint64), "VCC": random.integers(0, 2**64, count // 64, dtype=np.uint64)}
    given = inputs(operation, count)
    if operation.encoding in ("DS", "GLOBAL") and operation.sources[0].startswith("f"):
        start["MEM"] = np.array(draw(operation.sources[0], random, count), np.uint64)
    if operation.encoding in ("DS", "GLOBAL") and "cmp" in operation.name:  # half of the comparisons hold
        size = int(operation.sources[0].partition("/")[2])
        shift = size // 2 if operation.encoding == "GLOBAL" else 0
        bits = size // 2 if operation.encoding == "GLOBAL" else size
        for lane in range(0, count, 2):
            keep = given[0][lane] & ~(((1 << bits) - 1) << shift)
            given[0][lane] = keep | (int(start["MEM"][lane]) & ((1 << bits) - 1)) << shift
    second = random.integers(0, 2**64, count, dtype=np.uint64)
    if operation.encoding == "DS" and "DATA2" in operation.text:
        operation = Operation(**{**operation.__dict__, "sources": operation.sources * 2})
        given = [given[0], second.tolist()]
    found = executed(operation, given, start, bench)
    wrong = []
    scalar, memory = operation.encoding.startswith("SOP"), operation.encoding in ("DS", "GLOBAL")
    returns = re.search(r"rtn|_read_|sc0|load", operation.line)
    width = operation.result if not memory else 64 if operation.line.split()[1].startswith("v[1") else 32
    for lane in range(count):
        words = [source[lane] for source in given]
        before = {"D0": int(start["D0"][lane]), "MEM": int(start["MEM"][lane]), "DATA2": int(second[lane]) if len(given) > 1 else 0}
        before |= {"EXEC": int(start["EXEC"][lane]), "SCC": int(start["SCC"][lane])} if scalar else {"VCC": int(start["VCC"][lane // 64])}
        wanted = told(operation, words, before, lane)
        for name in found.keys() & wanted.keys():
            a, b = found[name][lane], wanted[name]
            same = a == b
            if name == "D0":
                same = operation.mask or (memory and not returns) or agree(operation, width, a, b)
            elif name == "MEM":
                same = agree(operation, 64 if "x2" in operation.name or "64" in operation.name else 32, a, b)
            if not same and not any(item.holds(operation, words, a, before.get("VCC", 0) >> lane % 64 & 1) for item in ACCEPTED):
                wrong.append(f"{operation.line}: {name} {a:#x}, by the document {b:#x}, of {', '.join(map(hex, words))}; before {before['D0']:#x}")
    return wrong


ALL = list(operations()) if TEXTS else []


def known(operation: Operation) -> bool:
    try:
        decode_instruction(parse_instruction(operation.line))
    except UnknownInstruction:
        return False
    return True


KNOWN = [operation for operation in ALL if known(operation)]


def test_all_that_the_executor_knows_is_compared() -> None:
    """Nothing falls out of the comparison unseen: forms, operations, and what was left out with its reason."""
    assert len(KNOWN) >= 1150 and len({operation.name for operation in KNOWN}) >= 850
    assert {operation.line for operation in KNOWN} <= {form.line for form in forms()}, "`kernels opcodes` has other forms (opcodes/forms.txt)"
    for pattern, reason in LEFT_OUT.items():
        assert reason and any(re.search(pattern, name) for name in BY_NAME), f"{pattern} leaves out nothing"
    for item in ACCEPTED:
        assert item.reason and any(re.search(item.names, operation.name) for operation in KNOWN), f"{item.names} excuses nothing"


@pytest.mark.parametrize("fault", [fault for fault in faults.FAULTS if fault.told_by], ids=str)
def test_a_fault_put_into_the_executor_is_seen(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [operation for operation in KNOWN if re.match(fault.told_by, operation.line)]
    with faults.seeded(fault):
        monkeypatch.setitem(globals(), "decode_instruction", importlib.import_module("tunefork.kernels.amdgcn.executor.decode").decode_instruction)
        bench = faults.fresh(faults.CONFTEST).Bench
        assert any(differences(operation, bench, 256) for operation in told), f"none of {len(told)} forms differs"


@pytest.mark.parametrize("operation", KNOWN, ids=str)
def test_the_executor_does_what_the_document_tells(operation: Operation, bench: Callable[..., Any]) -> None:
    wrong = differences(operation, bench, INPUTS)
    assert not wrong, f"{len(wrong)} of {INPUTS}: " + "\n".join(wrong[:4])
