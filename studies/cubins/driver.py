"""As much of CUDA's driver as a launch needs, through ctypes: modules, the limit of shared memory, a launch with its attribute.

Layouts are cuda.h's (13.0): CUlaunchConfig is 56 bytes on a 64-bit machine, CUlaunchAttribute 72, its value at byte 8.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Protocol

from tunefork.base.errors import TuneforkError
from tunefork.kernels.moe_a16w4.plan import TILE_COLUMNS

MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
PROGRAMMATIC_STREAM_SERIALIZATION = 6  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
BFLOAT16, SWIZZLE_128, PROMOTION_128 = 9, 3, 2  # CUtensorMapDataType, CUtensorMapSwizzle, CUtensorMapL2promotion
FREE_SHARED = 48 << 10  # bytes that a launch may have without asking
LANES = 32


class Attribute(ctypes.Structure):
    """CUlaunchAttribute."""

    _fields_ = (("id", ctypes.c_uint), ("pad", ctypes.c_char * 4), ("allowed", ctypes.c_int), ("rest", ctypes.c_char * 60))


class Config(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint), ("stream", ctypes.c_void_p),
                ("attributes", ctypes.c_void_p), ("count", ctypes.c_uint))  # fmt: skip


class Driver(Protocol):
    """What a launch asks of the machine; tests have a stand-in."""

    def load(self, cubin: bytes, symbol: str, shared: int) -> int:
        """-> a function's handle, allowed ``shared`` bytes."""

    def launch(self, function: int, grid: Sequence[int], warps: int, shared: int, stream: int, values: Sequence[Any], chained: bool) -> None:
        """values: ctypes objects, one per parameter."""

    def tiles(self, address: int, rows: int, columns: int, tile_rows: int) -> Any:
        """-> the parameter by which TMA reads a bf16 matrix in tiles of tile_rows by TILE_COLUMNS."""


class Cuda:
    """The machine's own driver. Errors: TuneforkError with CUDA's number and name."""

    def __init__(self, library: str = "libcuda.so.1") -> None:
        self.lib = ctypes.CDLL(library)

    def _must(self, what: str, code: int) -> None:
        if code:
            name = ctypes.c_char_p()
            self.lib.cuGetErrorName(code, ctypes.byref(name))
            raise TuneforkError(f"{what} failed: {(name.value or b'?').decode()} ({code})", "see CUDA's driver API for the number")

    def load(self, cubin: bytes, symbol: str, shared: int) -> int:
        """Needs a current context: call torch.cuda.init() and use a tensor first."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._must("cuModuleLoadData", self.lib.cuModuleLoadData(ctypes.byref(module), cubin))
        self._must(f"cuModuleGetFunction({symbol})", self.lib.cuModuleGetFunction(ctypes.byref(function), module, symbol.encode()))
        if shared > FREE_SHARED:
            self._must("cuFuncSetAttribute", self.lib.cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED, shared))
        return int(function.value or 0)

    def tiles(self, address: int, rows: int, columns: int, tile_rows: int) -> Any:
        """A CUtensorMap, at a multiple of 64 bytes as CUDA wants it; elements beyond the matrix are zeros."""
        room = ctypes.create_string_buffer(128 + 64)
        found = (ctypes.c_char * 128).from_buffer(room, -ctypes.addressof(room) % 64)
        self._must("cuTensorMapEncodeTiled", self.lib.cuTensorMapEncodeTiled(
            ctypes.byref(found), BFLOAT16, 2, ctypes.c_void_p(address), (ctypes.c_uint64 * 2)(columns, rows), (ctypes.c_uint64 * 1)(2 * columns),
            (ctypes.c_uint32 * 2)(TILE_COLUMNS, tile_rows), (ctypes.c_uint32 * 2)(1, 1), 0, SWIZZLE_128, PROMOTION_128, 0))  # fmt: skip
        return found

    def launch(self, function: int, grid: Sequence[int], warps: int, shared: int, stream: int, values: Sequence[Any], chained: bool) -> None:
        """Asynchronous, as every launch; captured where the stream is."""
        places = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        attribute = Attribute(PROGRAMMATIC_STREAM_SERIALIZATION, b"", 1, b"")
        config = Config((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(LANES * warps, 1, 1), shared, stream, ctypes.addressof(attribute) if chained else None,
                        int(chained))  # fmt: skip
        self._must("cuLaunchKernelEx", self.lib.cuLaunchKernelEx(ctypes.byref(config), ctypes.c_void_p(function), places, None))
