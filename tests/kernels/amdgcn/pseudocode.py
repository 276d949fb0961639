"""Evaluates the pseudo-code of AMD's ISA documents, one lane at a time, on exact bit patterns.

A text becomes a Python function once. A value is its bits, a kind and a width: "f" float (16, 32, 64 bits), "bf" bfloat16, "fp8", "bf8",
"fp4", and "u", "i", "b" integers, on which arithmetic does not wrap until they are stored. Helpers that the texts name and do not define
are written here from IEEE 754 and OCP's Microscaling and OFP8 specifications, with Python's exact fractions: nothing of the executor.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Env = dict[str, Any]
Code = Callable[[Env], Any]
WIDE = 2048


@dataclass(frozen=True)
class Format:
    """A float format. special: "ieee" has infinities, "fn" one NaN and no infinity, "none" neither."""

    exponent: int
    mantissa: int
    special: str = "ieee"

    @property
    def bias(self) -> int:
        return (1 << self.exponent - 1) - 1


FORMATS = {("f", 16): Format(5, 10), ("f", 32): Format(8, 23), ("f", 64): Format(11, 52), ("bf", 16): Format(8, 7),
           ("fp8", 8): Format(4, 3, "fn"), ("bf8", 8): Format(5, 2), ("fp4", 4): Format(2, 1, "none")}  # fmt: skip
WIDTHS = {"bf": 16, "fp8": 8, "bf8": 8, "fp4": 4}


@dataclass(frozen=True, slots=True)
class Value:
    kind: str
    width: int
    bits: int

    @property
    def number(self) -> int:
        """As an integer."""
        if self.kind == "i" and self.width and self.bits >> (self.width - 1) & 1:
            return self.bits - (1 << self.width)
        return self.bits

    def view(self, kind: str, width: int) -> Value:
        if kind in "ui" and self.kind in "ui" and width > self.width:
            return integer(kind, width, self.number)
        return Value(kind, width, self.bits & ((1 << width) - 1))


@dataclass(frozen=True, slots=True)
class Wide:
    """An integer on its way: it has not been stored, so that nothing has been cut off."""

    number: int
    width: int = 32
    kind: str = "i"

    def view(self, kind: str, width: int) -> Value:
        return integer(kind, width, self.number)


def integer(kind: str, width: int, number: int) -> Value:
    return Value(kind, width, number & ((1 << width) - 1))


# ---- floats

def decode(value: Value) -> float | Fraction:
    """A float's number: Fraction where finite, float for infinities and NaN."""
    form = FORMATS[value.kind, value.width]
    sign = -1 if value.bits >> (form.exponent + form.mantissa) & 1 else 1
    power, part = value.bits >> form.mantissa & ((1 << form.exponent) - 1), value.bits & ((1 << form.mantissa) - 1)
    top = (1 << form.exponent) - 1
    if power == top and form.special == "ieee":
        return math.nan if part else sign * math.inf
    if form.special == "fn" and power == top and part == (1 << form.mantissa) - 1:
        return math.nan
    if power:
        return sign * Fraction(part | 1 << form.mantissa) * Fraction(2) ** (power - form.bias - form.mantissa)
    return sign * Fraction(part) * Fraction(2) ** (1 - form.bias - form.mantissa)


def negative(value: Value) -> int:
    return value.bits >> (value.width - 1) & 1


def quiet_nan(kind: str, width: int, sign: int = 0) -> Value:
    form = FORMATS[kind, width]
    part = 1 << form.mantissa - 1 if form.special == "ieee" else (1 << form.mantissa) - 1
    return Value(kind, width, sign << width - 1 | ((1 << form.exponent) - 1) << form.mantissa | part)


def encode(number: float | Fraction, kind: str, width: int, *, sign: int | None = None, saturate: bool = False, toward_zero: bool = False) -> Value:  # noqa: PLR0912 - the cases of a format
    """The nearest value of a format, ties to even. sign: of a zero.  saturate: the largest number stands for what lies beyond it."""
    form = FORMATS[kind, width]
    if isinstance(number, float):
        if math.isnan(number):
            return quiet_nan(kind, width)
        if math.isinf(number):
            minus, size = int(number < 0), None
        else:
            minus, size = int(math.copysign(1, number) < 0), abs(Fraction(number))
    else:
        minus, size = int(number < 0), abs(number)
    if not size and sign is not None and size is not None:
        minus = sign
    top = (1 << form.exponent) - 1
    largest = {"ieee": (top << form.mantissa) - 1, "fn": (top << form.mantissa) | ((1 << form.mantissa) - 2), "none": (1 << width - 1) - 1}[form.special]
    if size is None:
        pattern = largest + 1
    elif size == 0:
        pattern = 0
    else:
        power = max(size.numerator.bit_length() - size.denominator.bit_length(), 1 - form.bias)
        while size < Fraction(2) ** power and power > 1 - form.bias:
            power -= 1
        steps = size / Fraction(2) ** (power - form.mantissa)
        count = math.floor(steps) if toward_zero else round(steps)  # ties to even, since the patterns of neighbours alternate
        pattern = count + ((power + form.bias - 1) << form.mantissa)
        if toward_zero:
            pattern = min(pattern, largest)
    if pattern > largest:
        if saturate or form.special == "none":
            pattern = largest
        else:
            pattern = (top << form.mantissa) | ((1 << form.mantissa) - 1 if form.special == "fn" else 0)
    return Value(kind, width, minus << width - 1 | pattern)


FAST = {16: ("<e", "<H"), 32: ("<f", "<I"), 64: ("<d", "<Q")}


def number_of(value: Any) -> float:
    """A float value as a Python float (exact: no format here is wider)."""
    if isinstance(value, Value) and value.kind == "f":
        form, word = FAST[value.width]
        return float(struct.unpack(form, struct.pack(word, value.bits))[0])
    if isinstance(value, Value) and value.kind in WIDTHS:
        found = decode(value)
        return math.copysign(float(found), -1 if negative(value) else 1) if not isinstance(found, float) else found
    return float(value.number)


def is_float(value: Any) -> bool:
    return isinstance(value, Value) and (value.kind, value.width) in FORMATS


def float_value(number: float, width: int, kind: str = "f") -> Value:
    if kind == "f":
        form, word = FAST[width]
        try:
            return Value("f", width, struct.unpack(word, struct.pack(form, number))[0])
        except OverflowError:
            return encode(math.copysign(math.inf, number), "f", width)
    return encode(number, kind, width)


def is_nan(value: Value) -> bool:
    return math.isnan(number_of(value))


def signals(value: Value) -> bool:
    return is_nan(value) and not value.bits >> (FORMATS[value.kind, value.width].mantissa - 1) & 1


def quiet(value: Value) -> Value:
    return Value(value.kind, value.width, value.bits | 1 << FORMATS[value.kind, value.width].mantissa - 1)


def convert_float(value: Value, kind: str, width: int) -> Value:
    """To another format; a NaN keeps its sign, its quiet bit and what fits of its payload."""
    if (value.kind, value.width) == (kind, width):
        return value
    if is_nan(value):
        before, after = FORMATS[value.kind, value.width], FORMATS[kind, width]
        if after.special != "ieee":
            return quiet_nan(kind, width, negative(value))
        part = value.bits & ((1 << before.mantissa) - 1)
        shift = after.mantissa - before.mantissa
        part = part << shift if shift >= 0 else part >> -shift
        return Value(kind, width, negative(value) << width - 1 | ((1 << after.exponent) - 1) << after.mantissa | (part or 1 << after.mantissa - 1))
    return float_value(number_of(value), width, kind)


# ---- operators

def binary(operator: str, a: Any, b: Any) -> Any:
    if is_float(a) or is_float(b):
        return float_binary(operator, a, b)
    x, y = a.number, b.number
    width = max(a.width, b.width)
    kind = "i" if a.kind == b.kind == "i" else "u"
    results: dict[str, Callable[[], int]] = {
        "+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x // y, "%": lambda: x % y, "&": lambda: x & y,
        "|": lambda: x | y, "^": lambda: x ^ y, "<<": lambda: x << y, ">>": lambda: x >> y, "**": lambda: x**y,
    }  # fmt: skip
    if operator in results:
        if operator in ("<<", ">>"):
            width, kind = a.width, a.kind
        return Wide(results[operator](), width, kind)
    return truth({"==": x == y, "!=": x != y, "<>": x != y, "<": x < y, ">": x > y, "<=": x <= y, ">=": x >= y}[operator])


def float_binary(operator: str, a: Any, b: Any) -> Any:  # noqa: PLR0911 - one for each kind of operand
    if isinstance(b, Denormal):
        form = FORMATS[a.kind, a.width]
        size = a.bits & ((1 << a.width - 1) - 1)
        return truth(0 < size < 1 << form.mantissa)
    if isinstance(b, Signed):
        return truth(a.bits == b.bits_at(a))
    x, y = number_of(a), number_of(b)
    width = max(value.width for value in (a, b) if is_float(value))
    format_of = "bf" if "bf" in (a.kind, b.kind) and width == 16 else "f"
    if operator in ("==", "!=", "<>", "<", ">", "<=", ">="):
        unordered = math.isnan(x) or math.isnan(y)
        if operator == "<>":
            return truth(not unordered and x != y)
        return truth({"==": x == y, "!=": x != y, "<": x < y, ">": x > y, "<=": x <= y, ">=": x >= y}[operator])
    if operator == "**":
        return Power(Fraction(x) ** min(max(b.number, -5000), 5000)) if not is_float(b) else float_value(x**y, width)
    if math.isnan(x) or math.isnan(y):
        return quiet_nan(format_of, width)
    if isinstance(a, Power) or isinstance(b, Power):
        return scaled(*((b, a) if isinstance(a, Power) else (a, b)))
    try:
        result = {"+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: divide(x, y)}[operator]()
    except OverflowError:
        return encode(math.inf, format_of, width)
    return float_value(result, width, format_of)


@dataclass(frozen=True)
class Power:
    """An exact power of two that may lie outside every format."""

    value: Fraction
    kind: str = "f"
    width: int = 32

    @property
    def number(self) -> float:
        return 1.0


def scaled(value: Value, power: Power) -> Value:
    found = decode(value)
    if isinstance(found, float):
        return quiet(value) if math.isnan(found) else value
    return encode(found * power.value, "f", value.width, sign=negative(value))


def divide(x: float, y: float) -> float:
    if y:
        return x / y
    return math.nan if not x or math.isnan(x) else math.copysign(math.inf, x) * math.copysign(1, y)


@dataclass(frozen=True)
class Denormal:
    """What ``== DENORM.f32`` asks for."""

    width: int = 32
    kind: str = "f"


@dataclass(frozen=True)
class Signed:
    """+0.0 and -0.0 where the text writes the sign: the bit pattern is meant."""

    minus: bool
    kind: str = "f"
    width: int = 64

    def bits_at(self, other: Value) -> int:
        return int(self.minus) << other.width - 1

    @property
    def plain(self) -> Value:
        return float_value(-0.0 if self.minus else 0.0, 64)


def truth(value: bool) -> Value:
    return Value("u", 1, int(value))


def holds(value: Any) -> bool:
    return bool(value.number if not isinstance(value, Value) else value.bits)


def unary(operator: str, value: Any) -> Any:
    if operator == "!":
        return truth(not holds(value))
    if operator == "~":
        return integer("u" if value.kind == "b" else value.kind, value.width, ~value.number)
    if isinstance(value, Value) and is_float(value):
        return Value(value.kind, value.width, value.bits ^ 1 << value.width - 1) if operator == "-" else value
    return Wide(-value.number, value.width, "i") if operator == "-" else value


def choose(condition: Any, yes: Code, no: Code, env: Env) -> Any:
    return (yes if holds(condition) else no)(env)


# ---- the text

TOKEN = re.compile(r"""\s*(?:(?P<sized>\d+'(?:-?(?:0x[0-9a-fA-F]+|\d+\.\d+|\d+)U?|[A-Z]+\b))
    |(?P<number>0x[0-9a-fA-F]+(?:ULL|LL|U)?|\d+\.\d+F?|\d+(?:ULL|LL|U)?)
    |(?P<name>[A-Za-z_]\w*)|(?P<symbol><<|>>|<>|<=|>=|==|!=|&&|\|\||\*\*|\+=|-=|\+:|[-+*/%&|^~!?:;,.=<>(){}\[\]]))""", re.X)
LEVELS = (("||",), ("&&",), ("|",), ("^",), ("&",), ("==", "!=", "<>"), ("<", "<=", ">", ">="), ("<<", ">>"), ("+", "-"), ("*", "/", "%"), ("**",))
MEMBER = re.compile(r"^(fp|bf|f|u|i|b)(\d+)$")


class Unsupported(Exception):
    """The text uses something that is not evaluated here."""


def member(name: str) -> tuple[str, int] | None:
    found = MEMBER.match(name)
    if not found:
        return None
    kind, width = found[1], int(found[2])
    return (name, width) if name in WIDTHS else (kind, width)


def tokens(text: str) -> list[str]:
    found, at = [], 0
    text = re.sub(r"//[^\n]*", "", text).rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise Unsupported(f"cannot read {text[at:at + 20]!r}")
        found.append(match[match.lastgroup or 0])
        at = match.end()
    return found


def literal(word: str) -> Any:
    """A number as written: 1, 1U, 0x7fLL, 2.0F, 16'0.5, 1'1U."""
    if "'" in word:
        size, _, rest = word.partition("'")
        if "." in rest:
            return float_value(float(rest), int(size))
        return integer("u" if rest.endswith("U") or rest.startswith("0x") else "i", int(size), int(rest.rstrip("U"), 0))
    if "." in word:
        return float_value(float(word.rstrip("F")), 32 if word.endswith("F") else 64)
    plain = word.rstrip("UL")
    return integer("u" if "U" in word else "i", 64 if "LL" in word else 32, int(plain, 0)) if len(plain) < 10 or "LL" in word else integer("u", 32, int(plain, 0))


class Parser:
    """Recursive descent over the tokens of one text; every rule returns a closure over the environment."""

    def __init__(self, text: str) -> None:
        self.words, self.at = tokens(text), 0

    @property
    def next(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def take(self, *wanted: str) -> str:
        word = self.next
        if wanted and word not in wanted:
            raise Unsupported(f"expected {' or '.join(wanted)}, found {word!r}")
        self.at += 1
        return word

    def skip(self, word: str) -> bool:
        if self.next == word:
            self.at += 1
            return True
        return False

    def block(self, *ends: str) -> Code:
        steps: list[Code] = []
        while self.next and self.next not in ends:
            if self.skip(";"):
                continue
            steps.append(self.statement())

        def run(env: Env) -> None:
            for step in steps:
                step(env)

        return run

    def statement(self) -> Code:
        word = self.next
        if word == "if":
            return self.conditional()
        if word == "for":
            return self.loop()
        if word == "declare":
            return self.declaration()
        if word == "break":
            self.take()
            return leave
        if word == "return":
            self.take()
            value = self.expression()

            def give(env: Env) -> None:
                raise Return(value(env))

            return give
        return self.assignment()

    def conditional(self) -> Code:
        self.take("if", "elsif")
        condition = self.expression()
        self.take("then")
        yes = self.block("elsif", "else", "endif")
        if self.next == "elsif":
            no: Code = self.conditional()
        else:
            no = self.block("endif") if self.skip("else") else lambda env: None
            self.take("endif")
        return lambda env: yes(env) if holds(condition(env)) else no(env)

    def loop(self) -> Code:
        self.take("for")
        name = self.take()
        self.take("in")
        first = self.expression()
        self.take(":")
        last = self.expression()
        self.take("do")
        body = self.block("endfor")
        self.take("endfor")

        def run(env: Env) -> None:
            for number in range(first(env).number, last(env).number + 1):
                env[name] = Value("i", 32, number)
                try:
                    body(env)
                except Break:
                    return

        return run

    def declaration(self) -> Code:
        self.take("declare")
        name = self.take()
        self.take(":")
        word = self.take()
        count = None
        if self.skip("["):
            count = int(self.take())
            self.take("]")
        width, _, kind = word.partition("'")
        if not kind:  # "32'B" is read as a size and a cast only before "("
            kind = self.take()
        empty = Value("f" if kind == "F" else kind.lower(), int(width), 0)

        def run(env: Env) -> None:
            if name not in ("S", "OFFSET0", "OFFSET1"):
                env[name] = [empty] * count if count else empty

        return run

    def assignment(self) -> Code:
        if self.next == "{":
            return self.split_assignment()
        name = self.take()
        if self.next == "=" and self.words[self.at + 1] == "lambda":
            return self.function(name)
        path = self.path()
        operator = self.take("=", "+=", "-=")
        targets = [(name, path)]
        while operator == "=":  # a = b = value
            mark = self.at
            try:
                more = self.take()
                if not re.match(r"[A-Za-z_]", more):
                    raise Unsupported(more)
                further = self.path()
                self.take("=")
            except Unsupported:
                self.at = mark
                break
            targets.append((more, further))
        value = self.expression()

        def run(env: Env) -> None:
            found = value(env)
            if operator != "=":
                found = binary(operator[0], read(env, name, path), found)
            for target, way in targets:
                write(env, target, way, found)

        return run

    def split_assignment(self) -> Code:
        """{ D1.u1, D0.u64 } = value"""
        self.take("{")
        targets = []
        while True:
            name = self.take()
            targets.append((name, self.path()))
            if self.take(",", "}") == "}":
                break
        self.take("=")
        value = self.expression()

        def run(env: Env) -> None:
            bits = value(env).view("b", WIDE).bits
            for name, path in reversed(targets):
                width = path[-1][2]
                write(env, name, path, Value("b", width, bits & ((1 << width) - 1)))
                bits >>= width

        return run

    def function(self, name: str) -> Code:
        self.take("=")
        self.take("lambda")
        self.take("(")
        names = []
        while True:
            names.append(self.take())
            if self.take(",", ")") == ")":
                break
        self.take("(")
        if self.next in ("if", "declare"):
            body = self.block(")")

            def call(env: Env, *given: Any) -> Any:
                try:
                    body({**env, **dict(zip(names, given, strict=True))})
                except Return as result:
                    return result.value
                raise Unsupported(f"{name} returned nothing")
        else:
            value = self.expression()

            def call(env: Env, *given: Any) -> Any:
                return value({**env, **dict(zip(names, given, strict=True))})

        self.take(")")

        def run(env: Env) -> None:
            env[name] = call

        return run

    def path(self) -> list[Any]:
        """What follows a name: members, bit ranges, indices."""
        way: list[Any] = []
        while True:
            if self.next == "." and member(self.words[self.at + 1]):
                self.take()
                found = member(self.take())
                assert found
                way.append(("view", *found))
            elif self.skip("["):
                first = self.expression()
                if self.skip(":"):
                    way.append(("slice", first, self.expression()))
                elif self.skip("+:"):
                    raise Unsupported("+:")
                else:
                    way.append(("index", first))
                self.take("]")
            else:
                return way

    def expression(self) -> Code:
        condition = self.level(0)
        if not self.skip("?"):
            return condition
        yes = self.expression()
        self.take(":")
        no = self.expression()
        return lambda env: choose(condition(env), yes, no, env)

    def level(self, number: int) -> Code:
        if number == len(LEVELS):
            return self.prefix()
        left = self.level(number + 1)
        while self.next in LEVELS[number]:
            operator = self.take()
            right = self.level(number + 1)
            left = self.joined(operator, left, right)
        return left

    @staticmethod
    def joined(operator: str, left: Code, right: Code) -> Code:
        if operator == "&&":
            return lambda env: truth(holds(left(env)) and holds(right(env)))
        if operator == "||":
            return lambda env: truth(holds(left(env)) or holds(right(env)))
        return lambda env: binary(operator, left(env), right(env))

    def prefix(self) -> Code:
        if self.next in ("-", "+") and self.words[self.at + 1] == "0.0":
            minus = self.take() == "-"
            self.take()
            signed = Signed(minus)
            comparing = self.at >= 3 and self.words[self.at - 3] in ("==", "!=")
            return lambda env: signed if comparing else signed.plain
        if self.next in ("!", "~", "-", "+"):
            operator = self.take()
            value = self.prefix()
            return lambda env: unary(operator, value(env))
        return self.postfix()

    def postfix(self) -> Code:
        base = self.primary()
        way = self.path()
        return (lambda env: follow(env, base(env), way)) if way else base

    def primary(self) -> Code:
        word = self.take()
        if word == "(":
            value = self.expression()
            self.take(")")
            return value
        if word == "{":
            return self.concatenation()
        if re.match(r"\d+'[A-Z]", word):
            width, _, kind = word.partition("'")
            self.take("(")
            value = self.expression()
            self.take(")")
            return lambda env: cast(value(env), kind, int(width))
        if re.match(r"\d", word):
            constant = literal(word)
            return lambda env: constant
        if not re.match(r"[A-Za-z_]", word):
            raise Unsupported(f"unexpected {word!r}")
        if self.skip("("):
            given: list[Code] = []
            while not self.skip(")"):
                given.append(self.expression())
                self.skip(",")
            return lambda env: call(env, word, [item(env) for item in given])
        if word in ("WAVE_MODE", "INST", "WAVE_STATUS"):
            self.take(".")
            word += "." + self.take()
        return lambda env: look_up(env, word)

    def concatenation(self) -> Code:
        parts = [self.expression()]
        while self.skip(","):
            parts.append(self.expression())
        self.take("}")

        def join(env: Env) -> Value:
            bits = width = 0
            for part in parts:
                value = part(env)
                value = value.view("u", value.width)
                bits, width = bits << value.width | value.bits, width + value.width
            return Value("u", width, bits)

        return join


class Break(Exception):
    """break"""


class Return(Exception):
    """return"""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def leave(env: Env) -> None:
    raise Break


CONSTANTS: dict[str, Any] = {
    "PI": float_value(math.pi, 64), "INF": encode(math.inf, "f", 64), "NAN": quiet_nan("f", 64), "DENORM": Denormal(),
    "OVERFLOW_F32": encode(math.inf, "f", 32), "UNDERFLOW_F32": float_value(0.0, 32), "OVERFLOW_F64": encode(math.inf, "f", 64),
    "UNDERFLOW_F64": float_value(0.0, 64), "WAVE_MODE.IEEE": Value("u", 1, 1), "SDWA_SRC0_SEL": Value("u", 3, 0), "BYTE1": Value("u", 3, 1),
    "BYTE2": Value("u", 3, 2), "BYTE3": Value("u", 3, 3), "WORD1": Value("u", 3, 5), "ROUND_MODE": "nearest", "ROUND_NEAREST_EVEN": "nearest",
    "ROUND_TOWARD_ZERO": "zero",
}  # fmt: skip


def look_up(env: Env, name: str) -> Any:
    if name in env:
        return env[name]
    if name in CONSTANTS:
        return CONSTANTS[name]
    raise Unsupported(f"no value of {name}")


def cast(value: Any, kind: str, width: int) -> Any:
    if isinstance(value, Power):
        return value
    if kind == "F":
        if is_float(value):
            return convert_float(value, "f", width)
        return Value("f", width, value.view("b", width).bits)  # bits of a float, as a number or put together
    if is_float(value):
        return Value(kind.lower(), width, value.bits & ((1 << width) - 1))
    return integer(kind.lower(), width, value.number)


def follow(env: Env, value: Any, way: list[Any]) -> Any:
    for step in way:
        if step[0] == "view":
            if isinstance(value, Signed):
                value = value.plain
            if isinstance(value, Denormal):
                continue
            if is_float(value) and step[1] == "f" and step[2] != value.width:
                value = convert_float(value, "f", step[2])
            else:
                value = value.view(step[1], step[2])
        elif step[0] == "index":
            place = step[1](env).number
            value = value[place] if isinstance(value, list) else Value("u", 1, value.view("b", WIDE).bits >> place & 1)
        else:
            high, low = step[1](env).number, step[2](env).number
            bits = value.view("b", WIDE).bits
            if high < low:  # [0 : 31] turns the bits round
                count = low - high + 1
                value = Value("u", count, int(f"{bits >> high & ((1 << count) - 1):0{count}b}"[::-1], 2))
            else:
                value = Value("u", high - low + 1, bits >> low & ((1 << high - low + 1) - 1))
    return value


def read(env: Env, name: str, way: list[Any]) -> Any:
    return follow(env, look_up(env, name), way)


def write(env: Env, name: str, way: list[Any], value: Any) -> None:
    """Store into a variable or into some of its bits. A reversed range takes the bits in their order: its source is reversed."""
    if isinstance(value, Signed):
        value = value.plain
    if not way:
        before = env.get(name)
        kept = before if isinstance(before, Value) and before.kind != "b" and name not in ("D0", "tmp") else None
        env[name] = stored(value, kept.kind, kept.width) if kept else (value if isinstance(value, (Value, list, str)) else value.view(value.kind, max(value.width, 64)))
        return
    if isinstance(env.get(name), list):
        place, way = way[0][1](env).number, way[1:]
        before = env[name][place]
        env[name][place] = stored(value, before.kind, before.width) if not way else value.view(before.kind, before.width)
        return
    low, width, kind = 0, WIDE, "b"
    for step in way:
        if step[0] == "view":
            kind, width = step[1], step[2]
        elif step[0] == "index":
            low, width, kind = low + step[1](env).number, 1, "b"
        else:
            high, start = step[1](env).number, step[2](env).number
            low, width, kind = low + min(high, start), abs(high - start) + 1, "b"
    bits = stored(value, kind, width).bits
    before = env.get(name)
    old = before.view("b", WIDE).bits if before is not None else 0
    env[name] = Value("b", WIDE, old & ~(((1 << width) - 1) << low) | bits << low)


def stored(value: Any, kind: str, width: int) -> Value:
    if is_float(value):
        if kind in ("f", "bf", "fp8", "bf8", "fp4") and (value.kind, value.width) != (kind, width):
            return convert_float(value, kind, width)
        return Value(kind, width, value.bits & ((1 << width) - 1))
    return integer(kind, width, value.number)


# ---- helpers that the texts name

def call(env: Env, name: str, given: list[Any]) -> Any:
    if name in env:
        return env[name](env, *given)
    if name in HELPERS:
        return HELPERS[name](*given)
    if found := re.match(r"v_(minimum|maximum)3?_f(16|32|64)$", name):
        result = given[0]
        for value in given[1:]:
            result = ordered_extreme(found[1], result, value)
        return result
    if found := re.match(r"(\w+?)_to_(\w+?)(_scale)?$", name):
        return convert(env, found[1], found[2], given, bool(found[3]))
    other = env["PCODE"].get(name)
    if other is None:
        raise Unsupported(f"no definition of {name}")
    inner: Env = {"PCODE": env["PCODE"], "D0": Value("b", WIDE, 0)}
    inner.update({f"S{at}": value.view("b", 64) for at, value in enumerate(given)})
    function(other)(inner)
    width = given[0].width
    kind = given[0].kind if is_float(given[0]) else name.rsplit("_", 1)[1][0]
    return inner["D0"].view("u" if kind == "b" else kind, 32 if name.startswith(("v_sad", "v_msad", "v_prng")) else width)


def ordered_extreme(which: str, a: Value, b: Value) -> Value:
    """IEEE 754-2019 minimum and maximum: a NaN is the result, and -0 is below +0."""
    for value in (a, b):
        if is_nan(value):
            return quiet(value)
    x, y = number_of(a), number_of(b)
    if x == y:
        pick_a = bool(negative(a)) == (which == "minimum")
    else:
        pick_a = (x < y) == (which == "minimum")
    return a if pick_a else b


def convert(env: Env, source: str, target: str, given: list[Any], with_scale: bool) -> Any:  # noqa: PLR0911 - one for each kind of target
    if target in ("snorm", "unorm"):
        raise Unsupported(target)
    value, (kind, width) = given[0], member(target) or ("", 0)
    if not kind:
        raise Unsupported(target)
    form = member(source)
    assert form
    value = value.view(*form)
    if kind in "ui":
        if is_float(value):
            low, high = (-(1 << width - 1), (1 << width - 1) - 1) if kind == "i" else (0, (1 << width) - 1)
            number = number_of(value)
            if math.isnan(number):
                return integer(kind, width, 0)
            return integer(kind, width, min(max(int(number) if math.isfinite(number) else (high if number > 0 else low), low), high))
        return integer(kind, width, value.number)
    if not is_float(value):
        return encode(Fraction(value.number), kind, width)
    scale = given[1].number if with_scale else None
    if scale == 255:
        return quiet_nan(kind, width)
    if is_nan(value):
        return convert_float(value, kind, width) if FORMATS[kind, width].special == "ieee" else quiet_nan(kind, width, negative(value))
    number = decode(value)
    if scale is not None and not isinstance(number, float):
        wide_to_narrow = width < form[1]
        number *= Fraction(2) ** ((127 - scale) if wide_to_narrow else (scale - 127))
    return encode(number, kind, width, sign=negative(value), toward_zero=env.get("ROUND_MODE") == "zero")


def fused(a: Value, b: Value, c: Value) -> Value:
    x, y, z = (decode(value) for value in (a, b, c))
    if any(isinstance(value, float) for value in (x, y, z)):
        try:
            return float_value(number_of(a) * number_of(b) + number_of(c), a.width)
        except OverflowError:
            raise Unsupported("overflow") from None
    total = Fraction(x) * Fraction(y) + Fraction(z)
    if total:
        return encode(total, "f", a.width)
    minus = negative(a) ^ negative(b)
    return encode(total, "f", a.width, sign=minus & negative(c) if x * y == 0 and z == 0 else 0)


def exponent(value: Value) -> Value:
    form = FORMATS[value.kind, value.width]
    return Value("i", 32, value.bits >> form.mantissa & ((1 << form.exponent) - 1))


def mantissa(value: Value) -> Value:
    """The number with the exponent that puts it between a half and one."""
    return float_value(math.frexp(number_of(value))[0], value.width)


def by_float(function: Callable[[float], float]) -> Callable[[Value], Value]:
    def applied(value: Value) -> Value:
        number = number_of(value)
        try:
            return float_value(function(number), value.width)
        except OverflowError:
            return encode(math.inf, "f", value.width)
        except ValueError:
            return encode(-math.inf, "f", value.width) if number == 0 else quiet_nan("f", value.width)

    return applied


def whole(function: Callable[[float], float]) -> Callable[[Value], Value]:
    def applied(value: Value) -> Value:
        number = number_of(value)
        if not math.isfinite(number):
            return quiet(value) if math.isnan(number) else value
        return float_value(math.copysign(function(number), number), value.width) if function(number) == 0 else float_value(float(function(number)), value.width)

    return applied


def sign_extended(value: Any, width: Any) -> Wide:
    bits = width.number
    if bits == 0:
        return Wide(0, value.width)
    number = value.number & ((1 << value.width) - 1)
    if bits >= value.width:
        return Wide(number - (1 << value.width) if number >> value.width - 1 else number, value.width)
    number &= (1 << bits) - 1
    return Wide(number - (1 << bits) if number >> bits - 1 else number, value.width)


def power(base: Value, value: Value) -> Value:
    return by_float(lambda number: number_of(base) ** number)(value)


HELPERS: dict[str, Callable[..., Any]] = {
    "isNAN": lambda value: truth(is_nan(value)),
    "isSignalNAN": lambda value: truth(signals(value)),
    "isQuietNAN": lambda value: truth(is_nan(value) and not signals(value)),
    "cvtToQuietNAN": quiet,
    "fma": fused,
    "exponent": exponent,
    "mantissa": mantissa,
    "sign": lambda value: Value("u", 1, negative(value)),
    "abs": lambda value: Value(value.kind, value.width, value.bits & ~(1 << value.width - 1)),
    "floor": whole(math.floor),
    "trunc": whole(math.trunc),
    "fract": by_float(lambda number: number - math.floor(number)),
    "sqrt": lambda value: value if number_of(value) == 0 else by_float(math.sqrt)(value),
    "log2": by_float(math.log2),
    "sin": by_float(math.sin),
    "cos": by_float(math.cos),
    "pow": power,
    "isEven": lambda value: truth(math.isfinite(number_of(value)) and number_of(value) % 2 == 0),
    "ldexp": lambda value, count: scaled(value, Power(Fraction(2) ** count.number)),
    "signext": lambda value: Wide(integer("i", value.width, value.number).number, 64),
    "signext_from_bit": sign_extended,
    "CalcDsAddr": lambda *given: Value("u", 32, 0),
    "CalcGlobalAddr": lambda *given: Value("u", 64, 0),
}

KEPT: dict[str, Code] = {}


def prepared(text: str) -> str:
    """The text with a lane's registers and the one place in memory named as plain variables."""
    text = text.replace("VGPR[laneId][VDST.u32]", "D0").replace("VGPR[laneId][SRC0.u32]", "S0").replace("D.b", "D0.b")
    text = re.sub(r"S(\d)\.u32\[OPSEL", r"S\1[OPSEL", text)
    text = re.sub(r"MEM\[\s*(ADDR|addr)\s*\]", "MEM", text)
    return re.sub(r"^TTBL = .*$", "", text, flags=re.M)


def function(text: str) -> Code:
    """The text as a function of its environment, which it changes. Errors: Unsupported."""
    if text not in KEPT:
        parser = Parser(prepared(text))
        KEPT[text] = parser.block()
    return KEPT[text]


def run(text: str, registers: Mapping[str, int], pcode: Mapping[str, str], values: Mapping[str, Any] | None = None) -> Env:
    """Evaluate a text on registers (name -> bits); returns the environment after it. Errors: Unsupported."""
    env: Env = {"PCODE": pcode, **{name: Value("b", WIDE, bits) for name, bits in registers.items()}, **(values or {})}
    env["S"] = [env.get(f"S{at}", Value("b", WIDE, 0)) for at in range(3)]
    function(text)(env)
    return env
