"""The tensors of a checkpoint's files, from their headers alone: safetensors and GGUF."""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BITS = {"F4": 4, "F8_E8M0": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U8": 8, "I8": 8, "BOOL": 8, "BF16": 16, "F16": 16, "I16": 16, "U16": 16, "F32": 32,
        "I32": 32, "U32": 32, "F64": 64, "I64": 64, "U64": 64, "F6_E2M3": 6, "F6_E3M2": 6}  # fmt: skip
HEADER_MOST = 100_000_000  # what safetensors itself refuses beyond
# GGUF: type -> (name, elements of a block, bytes of a block); MXFP4 and the unquantised ones. Others are sized by their neighbours.
GGUF_TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 8: ("Q8_0", 32, 34), 30: ("BF16", 1, 2), 39: ("MXFP4", 32, 17)}
_GGUF_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_GGUF_STRING, _GGUF_ARRAY = 8, 9
MOST_DIMENSIONS, DEEPEST = 8, 8  # ggml has four dimensions, and no writer nests arrays


class Unreadable(Exception):
    """A file whose header says nothing, or cannot be true."""


@dataclass(frozen=True)
class Tensor:
    """shape: outermost first, in elements of its dtype. start, size: bytes in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    size: int


def safetensors_header(path: Path) -> list[Tensor]:
    """The tensors of one file, in the order of their bytes. Errors: Unreadable."""
    total = path.stat().st_size
    with path.open("rb") as file:
        lead = file.read(8)
        length = struct.unpack("<Q", lead)[0] if len(lead) == 8 else 0
        if not 2 <= length <= min(HEADER_MOST, total - 8):
            raise Unreadable(f"its header would be {length} bytes of a file of {total}")
        try:
            header = json.loads(file.read(length))
            found = []
            for name, about in header.items():
                if name != "__metadata__":
                    begin, end = whole(about["data_offsets"])
                    if not isinstance(about["dtype"], str):
                        raise TypeError("a type is a word")
                    found.append(Tensor(name, about["dtype"], whole(about["shape"]), path, 8 + length + begin, end - begin))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise Unreadable(f"its header is no safetensors header ({type(error).__name__})") from error
    return sorted(found, key=lambda tensor: (tensor.start, tensor.name))


def whole(numbers: list[int]) -> tuple[int, ...]:
    """A shape, or where a tensor begins and ends. Errors: ValueError where these are no counts."""
    if not all(type(each) is int and 0 <= each < 2**63 for each in numbers):
        raise ValueError("no counts")
    return tuple(numbers)


def extent_faults(tensors: list[Tensor], total: int) -> list[str]:
    """What is wrong with where the tensors of one file lie: sizes against shapes, overlaps, bytes beyond the file's end."""
    faults, end = [], None
    for tensor in tensors:
        bits = BITS.get(tensor.dtype)
        if bits is not None and math.prod(tensor.shape) * bits != 8 * tensor.size:
            faults.append(f"{tensor.name}: {tensor.size} bytes cannot be {tensor.dtype} {list(tensor.shape)}")
        if tensor.start + tensor.size > total:
            faults.append(f"{tensor.name}: ends at byte {tensor.start + tensor.size} of a file of {total}")
        if end is not None and tensor.start < end:
            faults.append(f"{tensor.name}: begins at byte {tensor.start}, inside the tensor before it")
        end = tensor.start + tensor.size
    return faults


def _number(file: BinaryIO, form: str) -> int:
    size = struct.calcsize(form)
    raw = file.read(size)
    if len(raw) != size:
        raise Unreadable("the file ends inside its header")
    return int(struct.unpack(form, raw)[0])


def _text(file: BinaryIO) -> str:
    length = _number(file, "<Q")
    if length > HEADER_MOST:
        raise Unreadable(f"a name of {length} bytes")
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int, depth: int = 0) -> object:
    if kind == _GGUF_STRING:
        return _text(file)
    if kind == _GGUF_ARRAY:
        inner, count = _number(file, "<I"), _number(file, "<Q")
        if inner in _GGUF_SCALARS:
            if (size := _GGUF_SCALARS[inner] * count) > os.fstat(file.fileno()).st_size - file.tell():
                raise Unreadable(f"an array of {count} values, beyond the file's end")
            file.seek(size, 1)
        else:
            if depth >= DEEPEST:
                raise Unreadable(f"arrays within arrays, {depth} deep")
            for _ in range(count):
                _value(file, inner, depth + 1)
        return None
    if kind not in _GGUF_SCALARS:
        raise Unreadable(f"a value of the unknown type {kind}")
    raw = file.read(_GGUF_SCALARS[kind])
    return int.from_bytes(raw, "little") if kind not in (6, 12) else None


def gguf_header(path: Path) -> tuple[list[Tensor], dict[str, object]]:
    """The tensors of one GGUF file (shapes outermost first) and its scalar and text values. Errors: Unreadable."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise Unreadable("it does not begin with GGUF")
        if (version := _number(file, "<I")) not in (2, 3):
            raise Unreadable(f"it is GGUF version {version}, 2 and 3 are known")
        count, pairs = _number(file, "<Q"), _number(file, "<Q")
        values = {}
        for _ in range(pairs):
            key = _text(file)
            values[key] = _value(file, _number(file, "<I"))
        infos = []
        for _ in range(count):
            name = _text(file)
            if (rank := _number(file, "<I")) > MOST_DIMENSIONS:
                raise Unreadable(f"a tensor of {rank} dimensions")
            dims = [_number(file, "<Q") for _ in range(rank)]
            kind, offset = _number(file, "<I"), _number(file, "<Q")
            infos.append((offset, name, tuple(reversed(dims)), kind))
        alignment = values.get("general.alignment")
        step = alignment if isinstance(alignment, int) and alignment > 0 else 32
        base = -(-file.tell() // step) * step
    total, infos = path.stat().st_size, sorted(infos)
    found = []
    for at, (offset, name, shape, kind) in enumerate(infos):
        label, elements, size = GGUF_TYPES.get(kind, (f"type {kind}", 1, 0))
        end = infos[at + 1][0] + base if at + 1 < len(infos) else total
        found.append(Tensor(name, label, shape, path, base + offset, math.prod(shape) // elements * size if size else end - base - offset))
    return found, values
