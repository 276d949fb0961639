"""A compressed tarball of wheels: what their members are on the path, without what is not loaded, the same bytes every time."""

from __future__ import annotations

import csv
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from studies.fullsize.pack import fatbin

CHIP = 90
PTX_LIMIT = 32 << 10
"""Bytes of PTX that stay where there is no machine code for the chip: the small kernels. Marlin's PTX, 17 MB, goes, and with it Marlin."""

# Members that no arm of ours loads. An import of each of these libraries is guarded in vLLM; FlashAttention 3 stays, since one of 2 and 3 has to be there.
LEFT_OUT = (
    "vllm/vllm-rs", "vllm/vllm_flash_attn/_vllm_fa2_C*", "vllm/_deepselect_C*", "vllm/_flashkda_C*", "vllm/_flashmla_*C*", "vllm/_qutlass_C*",
    "vllm/third_party/deep_gemm/*", "vllm/third_party/fmha_sm100/*", "vllm/entrypoints/serve/instrumentator/static/swagger*", "*.jpg",
    "*/tests/*", "*.pyi", "*.dist-info/licenses/*", "*.dist-info/sboms/*",
)  # fmt: skip


def place(member: str) -> str | None:
    """Where a wheel's member lies once installed; None where it is not packed."""
    first, _, rest = member.partition("/")
    if first.endswith(".data"):  # scripts and headers are of no use on the path
        kind, _, member = rest.partition("/")
        if kind not in ("purelib", "platlib"):
            return None
    return None if member.endswith("/") or any(fnmatchcase(member, pattern) for pattern in LEFT_OUT) else member


def unhashed(record: bytes, kept: set[str]) -> bytes:
    """RECORD with the names of what is packed alone: hashes do not compress."""
    return "".join(f"{row[0]},,\n" for row in csv.reader(io.StringIO(record.decode())) if row and row[0] in kept).encode()


def members(wheel: Path, cuts: dict[str, fatbin.Cut]) -> Iterator[tuple[str, bytes, bool]]:
    """Name, content, and whether it may be executed, in the order of the names. cuts: takes what was cut of each library that has GPU code."""
    with zipfile.ZipFile(wheel) as box:
        found = {target: info for info in box.infolist() if (target := place(info.filename)) is not None}
        for target, info in sorted(found.items()):
            content = bytearray(box.read(info))
            if target.endswith(".so") and (done := fatbin.cut(content, CHIP, PTX_LIMIT)).containers:
                cuts[target] = done
            elif target.endswith(".dist-info/RECORD"):
                content = bytearray(unhashed(bytes(content), set(found)))
            yield target, bytes(content), bool(info.external_attr >> 16 & 0o111)


def write(path: Path, wheels: Iterable[Path]) -> dict[str, fatbin.Cut]:
    """Write the tarball of these wheels. Returns what was cut, by library."""
    cuts: dict[str, fatbin.Cut] = {}
    with lzma.open(path, "wb", preset=9) as sink, tarfile.open(fileobj=sink, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for wheel in wheels:
            for name, content, executable in members(wheel, cuts):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(content), 0o755 if executable else 0o644
                tar.addfile(info, io.BytesIO(content))
    return cuts
