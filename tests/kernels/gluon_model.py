"""Gluon has no interpreter: enough of its language in torch to execute ring.py and ring_kernel.py as they stand, one program at a time, on the CPU.

What a GPU would leave to luck is an error here: an address outside its tensor; a tile that is multiplied before the barrier that says it is there, or by
the wrong phase; a slot that is filled, or written as scratch, before every product that reads it was waited for and all warps met behind that wait.
Products are computed when they are issued. A tile of activations is not-a-number until its barrier was waited for.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

from tunefork.kernels.mxfp4 import decode as D

ROOM = Path(D.__file__).parents[1] / "moe_a16w4"


class Broken(AssertionError):
    """The kernel broke the ring's order or read beyond a tensor."""


def must(holds: bool, said: str) -> None:
    if not holds:
        raise Broken(said)


@dataclass(frozen=True)
class DType:
    torch: torch.dtype

    @property
    def primitive_bitwidth(self) -> int:
        return 8 * self.torch.itemsize


NAMES = ("int16", "int32", "int64", "uint8", "bfloat16", "float32")
TYPES = {name: DType(getattr(torch, name)) for name in NAMES}
OF = {each.torch: each for each in TYPES.values()}


def raw(value: Any) -> Any:
    return value.value if isinstance(value, Tensor) else value


class Tensor:
    """A block of values, or a scalar."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value
        self.type = SimpleNamespace(layout=None)

    @property
    def dtype(self) -> DType:
        return OF[self.value.dtype]

    @property
    def shape(self) -> list[int]:
        return list(self.value.shape)

    def to(self, kind: DType, bitcast: bool = False) -> Tensor:
        return Tensor(self.value.view(kind.torch) if bitcast else self.value.to(kind.torch))

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __neg__(self) -> Tensor:
        return Tensor(-self.value)


def _binary(name: str) -> Callable[[Tensor, Any], Tensor]:
    def apply(self: Tensor, other: Any) -> Tensor:
        return Tensor(getattr(self.value, name)(raw(other)))

    return apply


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "floordiv", "mod", "and", "rshift", "lt", "gt", "le", "ge", "eq", "truediv"):
    setattr(Tensor, f"__{_name}__", _binary(f"__{_name}__"))


class Pointer:
    """Into a one-dimensional tensor."""

    def __init__(self, memory: torch.Tensor, at: Any = 0) -> None:
        self.memory, self.at = memory, at

    @property
    def dtype(self) -> Any:
        return SimpleNamespace(element_ty=OF[self.memory.dtype])

    def __add__(self, other: Any) -> Pointer:
        return Pointer(self.memory, raw(self.at) + raw(other))


def _places(pointer: Pointer, mask: Any) -> tuple[torch.Tensor, torch.Tensor]:
    at = torch.as_tensor(pointer.at).long()
    ok = torch.ones_like(at, dtype=torch.bool) if mask is None else torch.as_tensor(raw(mask)).expand(torch.broadcast_shapes(at.shape, torch.as_tensor(raw(mask)).shape))
    at = at.expand(ok.shape)
    must(bool(((at >= 0) & (at < pointer.memory.numel()))[ok].all()), f"an address outside its {pointer.memory.numel()} elements")
    return at, ok


def load(pointer: Pointer, mask: Any = None, other: Any = 0, cache_modifier: str = "") -> Tensor:
    at, ok = _places(pointer, mask)
    found = pointer.memory[torch.where(ok, at, 0)]
    return Tensor(torch.where(ok, found, torch.zeros_like(found) + other))


def store(pointer: Pointer, value: Tensor, mask: Any = None) -> None:
    at, ok = _places(pointer, mask)
    value_ = value.value.expand(ok.shape)
    must(value.dtype.torch == pointer.memory.dtype, "a store of another type")
    pointer.memory[at[ok]] = value_[ok]


@dataclass
class Machine:
    """One program's products and barriers. issued: (what it reads, whether it was waited for, whether all warps know)."""

    issued: list[dict[str, Any]] = field(default_factory=list)
    staged: list[Any] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def free(self, slot: Any) -> bool:
        return all(one["known"] for one in self.issued if one["slot"] is slot)

    def meet(self) -> None:
        for one in self.issued:
            one["known"] = one["done"]
        self.staged.clear()


MACHINE = Machine()
PROGRAM = [0]


class Bar:
    """A barrier in shared memory: transactions of bytes, phases."""

    def __init__(self) -> None:
        self.expected = self.arrived = self.completed = self.waited = 0
        self.coming: list[tuple[Any, torch.Tensor]] = []


class Slot:
    """A tile of shared memory."""

    def __init__(self, memory: torch.Tensor, bar: Bar | None = None) -> None:
        self.memory, self.bar = memory, bar
        self.fetched = 0

    def slice(self, start: int, length: int, dim: int) -> View:
        return View(self, self.memory.narrow(dim, start, length))


@dataclass
class View:
    slot: Slot
    memory: torch.Tensor

    def permute(self, order: Sequence[int]) -> View:
        return View(self.slot, self.memory.permute(*order))


class Shared:
    """[slots, rows, 64] tiles, or [slots, 1] barriers."""

    def __init__(self, kind: DType, shape: Sequence[int]) -> None:
        self.kind, self.shape = kind, list(shape)
        self.slots: list[Any] = [Bar() if len(shape) == 2 else Slot(torch.full(tuple(shape[1:]), float("nan"), dtype=kind.torch)) for _ in range(shape[0])]

    def index(self, at: Any) -> Any:
        must(0 <= int(at) < len(self.slots), f"slot {at} of {len(self.slots)}")
        return self.slots[int(at)]

    def slice(self, start: int, length: int, dim: int) -> Shared:
        found = Shared(self.kind, [length, *self.shape[1:]])
        found.slots = self.slots[start : start + length]
        return found

    def reinterpret(self, kind: DType, shape: Sequence[int], _layout: Any) -> Stage:
        have, want = (k.primitive_bitwidth * torch.Size(s).numel() for k, s in ((self.kind, self.shape), (kind, shape)))
        must(want <= have, f"{want // 8} bytes of scratch in {have // 8}")
        return Stage(self, torch.full(tuple(shape), float("nan"), dtype=kind.torch))

    _reinterpret = reinterpret


@dataclass
class Stage:
    """The ring's bytes as scratch."""

    ring: Shared
    memory: torch.Tensor

    def permute(self, order: Sequence[int]) -> Stage:
        return Stage(self.ring, self.memory.permute(*order))

    def store(self, value: Tensor) -> None:
        must(all(MACHINE.free(slot) for slot in self.ring.slots), "scratch over tiles that a product may still read")
        self.memory.copy_(value.value)
        MACHINE.staged.append(self.ring)

    def load(self, _layout: Any) -> Tensor:
        must(self.ring not in MACHINE.staged, "scratch read before all warps met")
        return Tensor(self.memory.clone())


@dataclass
class Descriptor:
    """What TMA reads: a matrix in tiles of `rows` by 64."""

    matrix: torch.Tensor
    rows: int
    layout: Any = None


def async_load(source: Descriptor, where: Sequence[Any], bar: Bar, slot: Slot, pred: Any = True) -> None:
    if not bool(raw(pred)):
        return
    must(MACHINE.free(slot), "a tile is filled that a product may still read")
    must(tuple(slot.memory.shape) == (source.rows, 64), "a tile of another size")
    row, column = (int(raw(each)) for each in where)
    tile = torch.zeros(source.rows, 64, dtype=source.matrix.dtype)
    part = source.matrix[row : row + source.rows, column : column + 64]
    tile[: part.shape[0], : part.shape[1]] = part
    slot.bar = bar
    slot.memory.fill_(float("nan"))
    bar.coming.append((slot, tile))
    bar.arrived += tile.numel() * 2
    if bar.arrived == bar.expected:
        bar.completed += 1
        bar.expected = bar.arrived = 0


def expect(bar: Bar, size: int, pred: Any = True) -> None:
    if bool(raw(pred)):
        must(bar.expected == 0 and bar.waited == bar.completed, "a barrier is armed again before its tile was waited for")
        bar.expected = size


def wait(bar: Bar, phase: Any) -> None:
    must(bar.completed == bar.waited + 1, "a wait for a tile that nobody fetches: it would hang")
    must(int(raw(phase)) == bar.waited % 2, "a wait for the other phase")
    bar.waited += 1
    for slot, tile in bar.coming:
        slot.memory.copy_(tile)
    bar.coming.clear()


def warpgroup_mma(a: Tensor, b: View, acc: Tensor, is_async: bool) -> Tensor:
    bar = b.slot.bar
    must(bar is not None and bar.completed == bar.waited, "a tile is multiplied before it is there")
    MACHINE.issued.append({"slot": b.slot, "done": not is_async, "known": False})
    return Tensor(acc.value + a.value.float() @ b.memory.float())


def warpgroup_mma_wait(pending: int, deps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    for one in MACHINE.issued[: len(MACHINE.issued) - pending]:
        one["done"] = True
    return tuple(deps)


def barrier() -> None:
    MACHINE.meet()


def _halves(words: torch.Tensor) -> torch.Tensor:
    return torch.stack((words.to(torch.int16), (words >> 16).to(torch.int16)), -1).view(torch.bfloat16)


def _word(bits: torch.Tensor) -> torch.Tensor:
    wide = bits & 0xFFFFFFFF
    return torch.where(wide >= 1 << 31, wide - (1 << 32), wide).to(torch.int32)


def _factor(scales: torch.Tensor, slot: int, wide: bool) -> torch.Tensor:
    half = ((scales.long() >> (8 * slot)) & 0xFF) << 7
    half = half.clamp(min=0x40) if wide else half
    return _word(half | half << 16)


def _apply(words: torch.Tensor, factors: torch.Tensor, slot: int, wide: bool) -> torch.Tensor:
    bits = words.long()
    if slot < 3:
        bits = (bits << 3 * slot) & 0x81C081C0
    else:
        bits = ((bits << 1) & 0x80008000) | (((bits & 0xFFFFFFFF) >> 3) & 0x01800180) | (((bits & 0xFFFFFFFF) >> 7) & 0x00400040)
    value = _halves(_word(bits)).float() * (2.0**126 if wide else 1.0)  # 0x7E80
    words_, factors_ = torch.broadcast_tensors(words, factors)
    product = (value.expand(*words_.shape, 2) * _halves(factors_.contiguous()).float()).bfloat16().view(torch.int16).long() & 0xFFFF
    return _word(product[..., 0] | product[..., 1] << 16)


def _known() -> dict[str, Callable[..., torch.Tensor]]:
    def text(name: str) -> str:
        return str(getattr(D, name).value)

    found: dict[str, Callable[..., torch.Tensor]] = {}
    for slot in range(4):
        for wide, kind in ((False, "NARROW"), (True, "WIDE")):
            found[text(f"_PTX_FACTOR_{slot}") + text(f"_PTX_FACTOR_{kind}")] = lambda s, slot=slot, wide=wide: _factor(s, slot, wide)
            found[text("_PTX_OPEN") + text(f"_PTX_BITS_{slot}") + text(f"_PTX_APPLY_{kind}")] = lambda w, f, slot=slot, wide=wide: _apply(w, f, slot, wide)
    return found


ASM = _known()


def inline_asm_elementwise(asm: str, _constraints: str, args: Sequence[Tensor], **_options: Any) -> Tensor | None:
    if asm.startswith("griddepcontrol"):
        MACHINE.events.append(asm.split(";", maxsplit=1)[0])
        return None
    return Tensor(ASM[asm](*(each.value for each in args)))


def _split(value: Tensor) -> tuple[Tensor, Tensor]:
    return Tensor(value.value[..., 0]), Tensor(value.value[..., 1])


def _layout(*_args: Any, **_options: Any) -> None:
    return None


def language() -> ModuleType:
    """What ring.py calls `gl`."""
    gl: Any = ModuleType("language")
    for name, kind in TYPES.items():
        setattr(gl, name, kind)
    for name in ("NVMMADistributedLayout", "DistributedLinearLayout", "DotOperandLayout", "SliceLayout", "BlockedLayout", "NVMMASharedLayout"):
        setattr(gl, name, _layout)
    gl.constexpr = lambda value: value
    gl.static_range = range
    gl.program_id = lambda _axis: Tensor(torch.tensor(PROGRAM[0], dtype=torch.int32))
    gl.arange = lambda begin, end, layout=None: Tensor(torch.arange(begin, end, dtype=torch.int32))
    gl.zeros = lambda shape, kind, layout: Tensor(torch.zeros(*shape, dtype=kind.torch))
    gl.expand_dims = lambda value, axis: Tensor(value.value.unsqueeze(axis))
    gl.reshape = lambda value, shape: Tensor(value.value.reshape(*shape))
    gl.permute = lambda value, order: Tensor(value.value.permute(*order))
    gl.join = lambda a, b: Tensor(torch.stack((a.value, b.value), -1))
    gl.split = _split
    gl.convert_layout = lambda value, layout, assert_trivial=False: value
    gl.minimum = lambda a, b, propagate_nan=None: Tensor(torch.minimum(a.value, torch.as_tensor(raw(b), dtype=a.value.dtype)))
    gl.maximum = lambda a, b, propagate_nan=None: Tensor(torch.maximum(a.value, torch.as_tensor(raw(b), dtype=a.value.dtype)))
    gl.where = lambda ok, a, b: Tensor(torch.where(raw(ok), raw(a), torch.zeros_like(raw(a)) + raw(b)))
    gl.exp = lambda value: Tensor(value.value.exp())
    gl.load, gl.store, gl.barrier, gl.inline_asm_elementwise = load, store, barrier, inline_asm_elementwise
    gl.static_assert = lambda holds: must(holds, "static_assert")
    gl.allocate_shared_memory = lambda kind, shape, layout: Shared(kind, shape)
    return gl


def kernels() -> Any:
    """ring_kernel.py over this language; `.ring` is its ring.py."""
    gluon: Any = ModuleType("gluon")
    gluon.jit = gluon.constexpr_function = lambda function: function
    gluon.language = language()
    hopper: Any = ModuleType("hopper")
    hopper.mbarrier = SimpleNamespace(MBarrierLayout=_layout, init=lambda bar, count: None, expect=expect, wait=wait)
    hopper.tma = SimpleNamespace(async_load=async_load)
    hopper.warpgroup_mma, hopper.warpgroup_mma_wait, hopper.warpgroup_mma_init = warpgroup_mma, warpgroup_mma_wait, lambda value: value
    hopper.fence_async_shared = lambda: None
    import triton.experimental

    fakes = {"triton.experimental.gluon": gluon, "triton.experimental.gluon.language": gluon.language, "triton.experimental.gluon.language.nvidia.hopper": hopper}
    package = "tunefork.kernels.moe_a16w4"
    made: dict[str, ModuleType] = {}
    with patch.dict(sys.modules, fakes), patch.object(triton.experimental, "gluon", gluon, create=True):
        for name in ("ring", "ring_kernel"):
            spec = importlib.util.spec_from_file_location(f"{package}.{name}", ROOM / f"{name}.py")
            assert spec is not None and spec.loader is not None
            made[name] = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(made[name])
    made["ring_kernel"].ring = made["ring"]  # type: ignore[attr-defined]
    return made["ring_kernel"]


def launch(kernel: Callable[..., None], grid: int, **arguments: Any) -> list[str]:
    """Execute all programs, one after another; what they said of launches that depend on theirs comes back, the last program's."""
    for program in range(grid):
        PROGRAM[0] = program
        MACHINE.issued.clear(), MACHINE.staged.clear(), MACHINE.events.clear()
        kernel(**{name: Pointer(value) if isinstance(value, torch.Tensor) else value for name, value in arguments.items()})
        must(all(one["done"] for one in MACHINE.issued), "a product was never waited for")
    return list(MACHINE.events)
