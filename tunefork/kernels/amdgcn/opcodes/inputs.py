"""What an instruction is run on: edges of every type, numbers of moderate size and random bits, the same in every run."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.opcodes.form import AT_MEMORY, AT_VECTORS, BLOCK, LANES, MEMORY, VECTORS, Form

Words = npt.NDArray[np.uint32]
INTEGERS = [0, 1, 2, 3, 7, 8, 15, 16, 24, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFF, 0x800000, 0x7FFFFFFF, 0x80000000,
            0xFFFFFFFE, 0xFFFFFFFF, 0x80008000, 0x7FFF7FFF, 0x00010001, 0xFFFF0000]  # fmt: skip
NUMBERS = [0.0, 0.5, 1.0, 1.5, 2.5, 0.3, 2.0, 65504.0, 1e-3, 255.5, 7.0]
MANTISSA = {16: 10, 32: 23, 64: 52}
TYPES: dict[int, Any] = {16: np.float16, 32: np.float32, 64: np.float64}
WORDS: dict[int, Any] = {16: np.uint16, 32: np.uint32, 64: np.uint64}
KINDS = ("bits", "integers", "small", "f32", "f32", "numbers", "f16", "f64", "f64 numbers")
SCALES = (120, 134)  # e8m0: 2^-7 to 2^6


def patterns(bits: int) -> npt.NDArray[Any]:
    """The ends of each class of a float format, both signs: zero, denormals, numbers, infinity, NaNs of both kinds."""
    one = 1 << MANTISSA[bits]
    top = ((1 << bits - 1 - MANTISSA[bits]) - 1) << MANTISSA[bits]
    plain = [0, 1, one - 1, one, one + 1, top - 1, top, top | 1, top | one >> 1, top | one >> 1 | 5]
    listed = np.concatenate((np.array(plain, WORDS[bits]), np.array(NUMBERS, TYPES[bits]).view(WORDS[bits])))
    return np.concatenate((listed, listed | WORDS[bits](1 << bits - 1)))


def drawn(random: np.random.Generator, kind: str, count: int) -> Words:
    """``count`` registers of one lane, of one kind."""
    bits = random.integers(0, 2**32, count, dtype=np.uint32)
    if kind == "integers":
        return random.choice(np.array(INTEGERS, np.uint32), count)
    if kind == "small":
        return random.integers(0, 70, count, dtype=np.uint32)
    if kind == "f32":
        halves = bits >> np.uint32(16) << np.uint32(16) | np.uint32(0x8000)
        return np.asarray(np.where(random.random(count) < 0.8, random.choice(patterns(32), count), halves), np.uint32)
    if kind == "numbers":
        return np.asarray(random.standard_normal(count) * np.exp2(random.integers(-6, 7, count)), np.float32).view(np.uint32)
    if kind == "f16":
        return np.asarray(random.choice(patterns(16), 2 * count)).view(np.uint32)
    if kind == "f64":
        return np.asarray(random.choice(patterns(64), count // 2)).view(np.uint32)
    if kind == "f64 numbers":
        return np.asarray(random.standard_normal(count // 2) * np.exp2(random.integers(-6, 7, count // 2))).view(np.uint32)
    return bits


def matrix_words(random: np.random.Generator, line: str) -> Words:
    """(64, 48) registers of a matrix product: finite elements of the formats that it names, scales in v40 and v41."""
    shape = (LANES, VECTORS)
    if "f16" in line.split(maxsplit=1)[0]:  # bf16, too
        numbers = random.standard_normal((*shape, 2)).astype(np.float32)
        halves = (numbers.view(np.uint32) >> 16).astype(np.uint16) if "bf16" in line.split(maxsplit=1)[0] else numbers.astype(np.float16).view(np.uint16)
        words: Words = np.ascontiguousarray(halves).view(np.uint32)[..., 0]
    elif "f64" in line:
        words = random.standard_normal((LANES, VECTORS // 2)).view(np.uint32)
    elif line.split(maxsplit=1)[0].endswith("f32"):
        words = random.standard_normal(shape).astype(np.float32).view(np.uint32)
    else:
        octets = random.integers(0, 256, (*shape, 4), dtype=np.uint8)
        if "i8" not in line:
            octets = np.where((octets & 0x7F) >= 0x7C, octets & 0x83, octets)
        words = octets.view(np.uint32)[..., 0]
    if "i32" not in line and "f64" not in line:
        words[:, 16:32] = random.standard_normal((LANES, 16)).astype(np.float32).view(np.uint32)  # what is added to
    words[:, 40:42] = random.integers(*SCALES, (LANES, 8), dtype=np.uint8).view(np.uint32)
    return words


def blocks(form: Form, groups: int) -> npt.NDArray[np.uint8]:
    """(groups, BLOCK) bytes: in all work-groups but the last, every lane is active."""
    random = np.random.default_rng(zlib.crc32(form.line.encode()))
    made = np.zeros((groups, BLOCK), np.uint8)
    for group in range(groups):
        if "mfma" in form.line:
            words = matrix_words(random, form.line)
        else:
            words = np.stack([drawn(random, KINDS[int(at)], VECTORS) for at in random.integers(0, len(KINDS), LANES)])
            same = random.random(LANES) < 0.1
            words[same, 2:4] = words[same, 0:2]
        scalars = np.concatenate([drawn(random, str(random.choice(("bits", "integers", "small"))), 2) for _ in range(4)])
        vcc, mask = random.integers(0, 2**32, 2, dtype=np.uint32), np.full(2, 0xFFFFFFFF, np.uint32)
        if group == groups - 1:
            mask = random.integers(0, 2**32, 2, dtype=np.uint32)
        state = np.concatenate((scalars, vcc, mask, random.integers(0, 2, 1, dtype=np.uint32)))
        made[group, : 4 * len(state)] = state.astype(np.uint32).view(np.uint8)
        made[group, AT_VECTORS:AT_MEMORY] = np.ascontiguousarray(words, np.uint32).view(np.uint8).ravel()
        content = np.concatenate([drawn(random, KINDS[int(at)], MEMORY // 4) for at in random.integers(0, len(KINDS), LANES)])
        made[group, AT_MEMORY:] = np.ascontiguousarray(content, np.uint32).view(np.uint8)
    return made
