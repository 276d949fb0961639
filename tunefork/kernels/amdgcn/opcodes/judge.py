"""Whether two results of one instruction are the same: bit for bit, but for NaN payloads and what is an approximation by its definition."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.opcodes.form import AT_MEMORY, AT_VECTORS, LANES, MEMORY, SCALARS, VECTORS, Form

Octets = npt.NDArray[np.uint8]
EQUAL, NEAR, DIFFERENT, REFUSED = "equal", "near", "different", "refused"
APPROXIMATE = re.compile(r"v_(exp|log|rcp|rcp_iflag|rsq|sqrt|sin|cos)_(?:legacy_)?f(16|32|64)")
SUMS = re.compile(r"v_mfma_|v_dot2c_f32")
ULPS = {"16": 1, "32": 1, "64": 2**29}  # of the approximations; f64's are starting points of an iteration
TURNS = 2.0**-11  # absolute, of sin and cos: far from zero their argument is reduced in fewer bits
OF_SUM = 2.0**-18  # of the largest number in the result: the order of a sum is the hardware's
TYPES: dict[str, tuple[Any, Any, int]] = {"f16": (np.uint16, np.float16, 2), "f32": (np.uint32, np.float32, 4), "f64": (np.uint64, np.float64, 8)}


@dataclass(frozen=True)
class Place:
    """One 32-bit word of a result: a scalar register, a lane's vector register, or a lane's memory."""

    group: int
    name: str
    lane: int | None

    def __str__(self) -> str:
        return self.name if self.lane is None else f"{self.name} of lane {self.lane}"


def place(group: int, word: int) -> Place:
    """What the word of that number in a block is."""
    if 4 * word < AT_VECTORS:
        return Place(group, SCALARS[word] if word < len(SCALARS) else f"word {word}", None)
    if 4 * word < AT_MEMORY:
        lane, register = divmod(word - AT_VECTORS // 4, VECTORS)
        return Place(group, f"v{register}", lane)
    lane, byte = divmod(4 * word - AT_MEMORY, MEMORY)
    return Place(group, f"memory+{byte}", lane)


def ordered(words: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """Float patterns as whole numbers that count steps from one float to the next."""
    number = words.astype(np.int64) if bits < 64 else words.view(np.int64)
    top = np.int64(1 << bits - 1) if bits < 64 else np.int64(-(2**63))
    return np.where(number & top != 0, -(number & ~top), number)


def near(form: Form, first: Octets, second: Octets) -> npt.NDArray[np.bool_]:
    """For each 32-bit word of two results, (groups, words): whether the difference is one that no definition rules out."""
    allowed = np.zeros((len(first), first.shape[1] // 4), np.bool_)
    with np.errstate(all="ignore"):
        for kind in dict.fromkeys(re.findall(r"f(?:16|32|64)", form.line.split()[0].replace("scalef32", ""))):
            word, dtype, size = TYPES[kind]
            a, b = (np.ascontiguousarray(side).view(word) for side in (first, second))
            x, y = a.view(dtype), b.view(dtype)
            fine = (a == b) | (np.isnan(x) & np.isnan(y))
            if found := APPROXIMATE.match(form.line):
                steps = np.abs(ordered(a, 8 * size) - ordered(b, 8 * size)) <= ULPS[found[2]]
                fine |= (steps & np.isfinite(x) & np.isfinite(y)) if found[2] == kind[1:] else False
                fine |= (np.abs(x - y) <= TURNS) if found[1] in ("sin", "cos") else False
            if SUMS.match(form.line):
                largest = np.max(np.abs(np.where(np.isfinite(x), x, 0)[:, AT_VECTORS // size : AT_MEMORY // size]), initial=0)
                fine |= np.abs(x - y) <= largest * OF_SUM
            each = fine.reshape(len(first), -1, 2).all(axis=2) if size == 2 else fine if size == 4 else np.repeat(fine, 2, axis=1)
            allowed |= each
    return allowed


def judged(form: Form, executor: Octets, device: Octets) -> tuple[str, list[tuple[Place, int, int]]]:
    """The verdict on (groups, BLOCK) bytes of each, and every word that differs: where, the executor's, the device's; the worst kind first."""
    a, b = (np.ascontiguousarray(side).view(np.uint32) for side in (executor, device))
    other = a != b
    if not other.any():
        return EQUAL, []
    wrong = other & ~near(form, executor, device)
    shown = wrong if wrong.any() else other
    return DIFFERENT if wrong.any() else NEAR, [(place(int(g), int(w)), int(a[g, w]), int(b[g, w])) for g, w in np.argwhere(shown)]


def register_of(block: Octets, name: str, lane: int) -> int:
    """A register of one lane out of a block that came in or went out."""
    if name in SCALARS:
        return int(block.view(np.uint32)[SCALARS.index(name)])
    number = int(name[1:])
    return int(block[AT_VECTORS:AT_MEMORY].view(np.uint32).reshape(LANES, VECTORS)[lane, number])
