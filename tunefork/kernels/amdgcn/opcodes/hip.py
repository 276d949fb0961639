"""The few calls of the HIP runtime that load a code object and launch it, by ctypes: nothing to install beside ROCm's own library."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.errors import Gfx950Error

LIBRARY = "libamdhip64.so"
TO_DEVICE, TO_HOST = 1, 2  # hipMemcpyKind
NO_BINARY_FOR_GPU = 209  # hipErrorNoBinaryForGpu
BUFFER_POINTER, BUFFER_SIZE, END = 1, 2, 3  # HIP_LAUNCH_PARAM_*
CALLS: dict[str, list[Any]] = {
    "hipInit": [ctypes.c_uint],
    "hipGetDeviceCount": [ctypes.c_void_p],
    "hipSetDevice": [ctypes.c_int],
    "hipDeviceGetName": [ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
    "hipRuntimeGetVersion": [ctypes.c_void_p],
    "hipMalloc": [ctypes.c_void_p, ctypes.c_size_t],
    "hipFree": [ctypes.c_void_p],
    "hipMemcpy": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int],
    "hipMemset": [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t],
    "hipModuleLoadData": [ctypes.c_void_p, ctypes.c_char_p],
    "hipModuleUnload": [ctypes.c_void_p],
    "hipModuleGetFunction": [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p],
    "hipModuleLaunchKernel": [ctypes.c_void_p, *[ctypes.c_uint] * 7, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p],
    "hipDeviceSynchronize": [],
}


class HipError(Gfx950Error):
    """A call of the HIP runtime failed; ``code`` is its hipError_t."""

    def __init__(self, message: str, code: int, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.code = code


class Hip:
    """One GPU, by its runtime. Errors of every call: HipError, with the runtime's own name for it."""

    def __init__(self, library: str | Path = LIBRARY, device: int = 0) -> None:
        """Errors: Gfx950Error where the library is absent or lacks a call, HipError where it has no such GPU."""
        try:
            self.library = ctypes.CDLL(str(library))
            for name, arguments in CALLS.items():
                getattr(self.library, name).argtypes = arguments
            self.library.hipGetErrorName.restype = ctypes.c_char_p
        except (OSError, AttributeError) as error:
            raise Gfx950Error(f"the HIP runtime cannot be used: {error}", "name ROCm's library: --hip /opt/rocm/lib/libamdhip64.so") from error
        self.call("hipInit", 0)
        count = ctypes.c_int()
        self.call("hipGetDeviceCount", ctypes.byref(count))
        if device >= count.value:
            raise HipError(f"the HIP runtime sees {count.value} GPUs, not number {device}", 0, "HIP_VISIBLE_DEVICES chooses which ones it sees")
        self.call("hipSetDevice", device)
        said, version = ctypes.create_string_buffer(256), ctypes.c_int()
        self.call("hipDeviceGetName", said, len(said), device)
        self.call("hipRuntimeGetVersion", ctypes.byref(version))
        self.name, self.version = said.value.decode(errors="replace"), version.value

    def call(self, name: str, *arguments: Any) -> None:
        """One call of the runtime."""
        code = int(getattr(self.library, name)(*arguments))
        if code:
            told = self.library.hipGetErrorName(code)
            raise HipError(f"{name} failed: {told.decode(errors='replace') if told else 'error'} ({code})", code)

    def module(self, image: bytes) -> Module:
        return Module(self, image)

    def allocate(self, size: int) -> Allocation:
        return Allocation(self, size)


class Allocation:
    """Memory of the GPU, free at the end of the block."""

    def __init__(self, hip: Hip, size: int) -> None:
        self.hip, self.size, self.address = hip, size, ctypes.c_void_p()
        hip.call("hipMalloc", ctypes.byref(self.address), size)

    def __enter__(self) -> Allocation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:  # after a fault of the GPU freeing fails, too, and would hide what happened
            self.hip.call("hipFree", self.address)

    def write(self, data: npt.NDArray[np.uint8]) -> None:
        self.hip.call("hipMemcpy", self.address, np.ascontiguousarray(data).ctypes.data, data.size, TO_DEVICE)

    def clear(self) -> None:
        self.hip.call("hipMemset", self.address, 0, self.size)

    def read(self) -> npt.NDArray[np.uint8]:
        data = np.empty(self.size, np.uint8)
        self.hip.call("hipMemcpy", data.ctypes.data, self.address, self.size, TO_HOST)
        return data


class Module:
    """A code object on the GPU, unloaded at the end of the block."""

    def __init__(self, hip: Hip, image: bytes) -> None:
        self.hip, self.handle = hip, ctypes.c_void_p()
        try:
            hip.call("hipModuleLoadData", ctypes.byref(self.handle), image)
        except HipError as error:
            if error.code == NO_BINARY_FOR_GPU:
                told = f"{hip.name or 'this GPU'} is no gfx950: its runtime takes no code object made for one"
                raise HipError(told, error.code, "choose an MI350X or MI355X by --device or HIP_VISIBLE_DEVICES") from error
            raise

    def __enter__(self) -> Module:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.hip.call("hipModuleUnload", self.handle)

    def launch(self, name: str, grid: Sequence[int], block: Sequence[int], arguments: bytes) -> None:
        """Run a kernel and wait for its end. grid: work-groups.  block: work-items.  arguments: the kernel-argument segment."""
        function, size = ctypes.c_void_p(), ctypes.c_size_t(len(arguments))
        self.hip.call("hipModuleGetFunction", ctypes.byref(function), self.handle, name.encode())
        held = ctypes.create_string_buffer(arguments, len(arguments))
        extra = (ctypes.c_void_p * 5)(BUFFER_POINTER, ctypes.addressof(held), BUFFER_SIZE, ctypes.addressof(size), END)
        self.hip.call("hipModuleLaunchKernel", function, *grid, *block, 0, None, None, extra)
        self.hip.call("hipDeviceSynchronize")
