"""A Triton driver that claims a gfx950: inside ``on_gfx950()``, ``kernel[grid](cpu_tensors)`` compiles and executes machine code.

    with on_gfx950() as device:
        softmax[(rows,)](x, y, columns, BLOCK=1024)
    print(device.launches[-1].launch.instructions)

This is instruction-level functional verification, not validated on an MI355X, and no statement about time.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from triton.backends import backends
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime.cache import get_cache_manager

from tunefork.kernels.amdgcn.assembly import parse
from tunefork.kernels.amdgcn.errors import ExecutionError
from tunefork.kernels.amdgcn.executor.launch import Executable, Launch, Plan, Range, launch
from tunefork.kernels.arch import GFX950

DEVICE = 950  # its own number, so that Triton's caches do not mix with those of a real GPU 0
SCALAR_FORMATS = {
    "i1": "<?",
    "u1": "<?",
    "i8": "<b",
    "u8": "<B",
    "i16": "<h",
    "u16": "<H",
    "i32": "<i",
    "u32": "<I",
    "i64": "<q",
    "u64": "<Q",
    "fp16": "<e",
    "fp32": "<f",
    "f32": "<f",
    "fp64": "<d",
}


@dataclass(frozen=True)
class Launched:
    """One launch that went through the driver."""

    name: str
    plan: Plan
    launch: Launch


@dataclass
class Device:
    """What ``on_gfx950`` executes on, and how.

    seed: order of work-groups and waves.  lockstep: off, waves run one by one in random order (slow, finds other faults).
    resident_waves: waves that run together.  track_touched: record distinct bytes loaded in each buffer.
    program_filter: changes a kernel's amdgcn text before it is executed; tests seed faults with it.
    most_steps: instructions after which some waves that run together count as endless.
    launches: every launch so far.
    """

    seed: int = 0
    lockstep: bool = True
    resident_waves: int = 64
    track_touched: bool = False
    program_filter: Callable[[str], str] | None = None
    most_steps: int = 5_000_000
    launches: list[Launched] = field(default_factory=list)
    executables: dict[str, Executable] = field(default_factory=dict)

    def executable(self, path: Path) -> Executable:
        """The program of an amdgcn text, decoded once for each content. Errors: BadAssembly, UnknownInstruction."""
        text = path.read_text()
        if self.program_filter is not None:
            text = self.program_filter(text)
        if text not in self.executables:
            self.executables[text] = Executable.load(parse(text))
        return self.executables[text]


def flat(signature: Any, values: Any) -> Iterator[tuple[str, Any]]:
    """Type and value of every run-time argument, tuples taken apart, constexprs left out."""
    for kind, value in zip(signature, values, strict=True):
        if isinstance(kind, tuple):
            yield from flat(kind, value)
        elif kind != "constexpr":
            yield kind, value


def scalar_bytes(kind: str, value: Any) -> bytes:
    """A scalar argument as it lies in the kernel arguments."""
    if kind == "bf16":
        return struct.pack("<f", float(value))[2:]
    if kind not in SCALAR_FORMATS:
        raise ExecutionError(f"a kernel argument of type {kind} has no layout here")
    form = SCALAR_FORMATS[kind]
    if form[1] in "efd":
        return struct.pack(form, float(value))
    size = struct.calcsize(form)
    return int(value).to_bytes(size + 8, "little", signed=True)[:size]


def memory_of(tensor: torch.Tensor, name: str) -> Range:
    """The whole storage of a CPU tensor as memory that a kernel may touch."""
    if tensor.device.type != "cpu":
        raise ExecutionError(f"{name} is on {tensor.device}; the executor reads CPU tensors")
    storage = tensor.untyped_storage()
    size = storage.nbytes()
    octets = (ctypes.c_uint8 * size).from_address(storage.data_ptr())
    return Range(storage.data_ptr(), np.ctypeslib.as_array(octets), f"{name} {tuple(tensor.shape)} {tensor.dtype}")


class Launcher:
    """Stands for one compiled kernel; Triton calls it with the grid and the bound arguments."""

    def __init__(self, source: Any, metadata: Any) -> None:
        self.signature = list(source.signature.values())
        self.names = list(source.signature)
        self.metadata = metadata
        self.kernel = source.name
        files = get_cache_manager(metadata.hash).get_group(f"{source.name[:150]}.json") or {}
        texts = [path for name, path in files.items() if name.endswith(".amdgcn")]
        if not texts:
            raise ExecutionError(f"Triton kept no amdgcn text of {source.name}", "unset TRITON_STORE_BINARY_ONLY")
        self.text = Path(texts[0])

    def __call__(self, x: int, y: int, z: int, stream: Any, function: Any, *rest: Any) -> None:
        _packed, launch_metadata, enter, leave, *values = rest
        device: Device = triton.runtime.driver.active.device
        arguments, ranges = [], []
        for number, (kind, value) in enumerate(flat(self.signature, values)):
            if not kind.startswith("*"):
                arguments.append(scalar_bytes(kind, value))
                continue
            arguments.append(struct.pack("<Q", 0 if value is None else value.data_ptr()))
            if value is not None and value.untyped_storage().nbytes():
                ranges.append(memory_of(value, f"argument {number}"))
        for name in ("global_scratch_size", "profile_scratch_size"):
            if getattr(self.metadata, name, 0):
                raise ExecutionError(f"{self.kernel} asks for {name} {getattr(self.metadata, name)}, which the executor does not have")
        if enter is not None:
            enter(launch_metadata)
        plan = Plan(
            grid=(x, y, z),
            waves=self.metadata.num_warps,
            lds=self.metadata.shared,
            resident_waves=device.resident_waves,
            seed=device.seed + len(device.launches),
            lockstep=device.lockstep,
            most_steps=device.most_steps,
        )
        if x * y * z > 0:
            done = launch(device.executable(self.text), plan, arguments, ranges, track_touched=device.track_touched)
            device.launches.append(Launched(self.kernel, plan, done))
        if leave is not None:
            leave(launch_metadata)


class Utilities:
    """What Triton asks of a device."""

    def get_device_properties(self, device: int) -> dict[str, Any]:
        return {
            "max_shared_mem": GFX950.lds,
            "arch": GFX950.name,
            "warpSize": GFX950.lanes,
            "multiprocessor_count": GFX950.cus,
            "max_num_regs": 65536,  # what HIP says of one block
            "max_threads_per_sm": GFX950.simds * GFX950.waves * GFX950.lanes,
            "cooperativeLaunch": 1,
        }

    def load_binary(self, name: str, binary: bytes, shared: int, device: int) -> tuple[Any, ...]:
        return object(), None, 0, 0, 1024

    def unload_module(self, module: Any) -> None:
        return None


class Driver(DriverBase):  # type: ignore[misc] # triton has no types
    """Triton's view of the executor."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device
        self.utils = Utilities()
        self.launcher_cls = Launcher

    @classmethod
    def is_active(cls) -> bool:
        return True

    def get_current_target(self) -> GPUTarget:
        return GPUTarget(*GFX950.target)

    def get_current_device(self) -> int:
        return DEVICE

    def set_current_device(self, device: int) -> None:
        return None

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cpu

    def map_python_to_cpp_type(self, kind: str) -> str:
        return kind

    def get_benchmarker(self) -> Any:
        raise ExecutionError("the executor says nothing about time; a benchmark needs a GPU")


class NoDevice:
    """What is active outside the block on a machine without a GPU: kernels that ran may still be let go, nothing else works.

    Triton 3.9 asks the active driver to unload a kernel when it is garbage-collected, which may be after the block.
    """

    utils = Utilities()

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no Triton driver is active: this machine has no GPU; run kernels inside on_gfx950()")


@contextlib.contextmanager
def on_gfx950(
    *,
    seed: int = 0,
    lockstep: bool = True,
    resident_waves: int = 64,
    track_touched: bool = False,
    program_filter: Callable[[str], str] | None = None,
    most_steps: int = 5_000_000,
) -> Iterator[Device]:
    """Within the block, Triton kernels run as gfx950 machine code on CPU tensors; see Device for the arguments."""
    device = Device(seed, lockstep, resident_waves, track_touched, program_filter, most_steps)
    config = triton.runtime.driver
    before = config._active
    config.set_active(Driver(device))
    try:
        yield device
    finally:
        config._active = before
        if before is None and config._default is None and not any(item.driver.is_active() for item in backends.values()):
            config._default = NoDevice()
