"""studies.cubins without a GPU: what a pack holds, what the launcher passes, and the driver's structures against a stand-in of libcuda in C."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton", reason="NOT TESTED: needs triton (`pip install -e .[kernels]`)")

import torch

from studies.cubins import pack
from studies.cubins.__main__ import main
from studies.cubins.driver import FREE_SHARED, MAX_DYNAMIC_SHARED, Attribute, Config, Cuda
from studies.cubins.launch import Loaded, values
from tunefork.base.errors import BadInput, TuneforkError


def ptx(count: int) -> str:
    """A head as Triton's compiler prints it."""
    body = ",\n".join(f"\t.param .u64 .ptr .global .align 1 k_param_{at}" if at % 2 else f"\t.param .u32 k_param_{at}" for at in range(count))
    return f".version 8.7\n.target sm_90a\n.visible .entry k(\n{body}\n)\n.reqntid 128\n{{\n\tld.param.u64 %rd1, [k_param_0];\n}}\n"


def made(tp: int, tokens: int, scratch: int = 2, ring: bool = False) -> tuple[pack.Layer, list[bytes]]:
    """A row's layer as if Triton had compiled it."""
    found, codes = [], []
    for at, (row, bind) in enumerate(pack.rows(tp, tokens, ring)):
        about = SimpleNamespace(name=row.fn.__name__, num_warps=row.options["num_warps"], shared=1024 * at)
        taken = sum(5 if row.signature[name].startswith("tensordesc") else 1 for name in row.arguments if row.signature[name] != "constexpr")
        asm = {"ptx": ptx(taken + scratch), "cubin": b"cubin %d" % at}
        launch, code = pack.launch_of(row, bind, SimpleNamespace(asm=asm, metadata=about))
        found.append(launch)
        codes.append(code)
    return pack.Layer("3.9.0", tp, tokens, tuple(found), ring), codes


@pytest.mark.parametrize("count", [0, 1, 14, 20])
def test_parameters_of_a_ptx_are_counted(count: int) -> None:
    assert pack.parameters(ptx(count)) == count


def test_two_entries_are_refused() -> None:
    with pytest.raises(BadInput, match="2 entries in a kernel's PTX, expected one"):
        pack.parameters(ptx(1) + ptx(2))


@pytest.mark.parametrize(("tp", "tokens", "kernels"), [
    (8, 1, ["route_kernel", "up_kernel", "down_token_kernel"]),
    (1, 8192, ["route_kernel", "route_sort_kernel", "interleave_kernel", "up_tiled_kernel", "down_tiled_kernel", "combine_kernel"]),
])  # fmt: skip
def test_a_layer_has_the_plans_launches_in_order(tp: int, tokens: int, kernels: list[str]) -> None:
    layer, _ = made(tp, tokens)
    assert [launch.kernel for launch in layer.launches] == kernels
    up = next(launch for launch in layer.launches if launch.kernel.startswith("up"))
    assert up.arguments[0] == ("x_ptr", "xi" if tokens > 64 else "x", "*bf16") and up.chained and up.scratch == 2
    assert not layer.launches[0].chained  # the first waits for everything before it


@pytest.mark.parametrize("scratch", [-1, 3])
def test_parameters_that_are_not_ours_are_refused(scratch: int) -> None:
    with pytest.raises(BadInput, match=r"route_kernel .* parameters for \d+ arguments"):
        made(8, 1, scratch)


def test_a_pack_comes_back_and_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, codes = made(8, 1)
    for launch, code in zip(layer.launches, codes, strict=True):
        (tmp_path / launch.cubin).write_bytes(code)
    assert pack.write([layer], tmp_path) == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert pack.read(tmp_path) == [layer]
    monkeypatch.setattr(pack, "LIMIT", 10)
    with pytest.raises(BadInput, match=r"has \d+ bytes, at most 10"):
        pack.write([layer], tmp_path)
    with pytest.raises(BadInput, match="is no pack"):
        pack.read(tmp_path / "nowhere")


class Recorder:
    """A driver that only writes down what it is asked."""

    def __init__(self) -> None:
        self.loaded: list[tuple[bytes, str, int]] = []
        self.launched: list[dict[str, Any]] = []

    def load(self, cubin: bytes, symbol: str, shared: int) -> int:
        self.loaded.append((cubin, symbol, shared))
        return len(self.loaded)

    def tiles(self, address: int, rows: int, columns: int, tile_rows: int) -> Any:
        return SimpleNamespace(value=(address, rows, columns, tile_rows))

    def launch(self, function: int, grid: Any, warps: int, shared: int, stream: int, values: Any, chained: bool) -> None:
        self.launched.append({"function": function, "grid": grid, "warps": warps, "shared": shared, "stream": stream, "chained": chained,
                              "values": [value.value for value in values]})  # fmt: skip


def environment(layer: pack.Layer) -> dict[str, Any]:
    """A tensor or a number for everything that some launch is bound to."""
    kinds = {key: kind for launch in layer.launches for _, key, kind in launch.arguments}
    return {key: torch.zeros(4) if kind.startswith("*") else 1.5 if kind == "fp32" else at for at, (key, kind) in enumerate(kinds.items())} | {
        "out": torch.ones(2)}  # fmt: skip


@pytest.mark.parametrize(("tp", "tokens"), [(8, 1), (1, 64), (1, 8192)])
def test_every_launch_gets_its_buffers_in_the_kernels_order(tp: int, tokens: int, tmp_path: Path) -> None:
    layer, codes = made(tp, tokens)
    for launch, code in zip(layer.launches, codes, strict=True):
        (tmp_path / launch.cubin).write_bytes(code)
    driver, env = Recorder(), environment(layer)
    call = Loaded(layer, tmp_path, driver).bound(env, lambda: 77)
    assert call() is env["out"] and call() is env["out"]
    assert [code for code, _, _ in driver.loaded] == codes
    assert driver.launched[: len(codes)] == driver.launched[len(codes) :]
    for at, (launch, seen) in enumerate(zip(layer.launches, driver.launched, strict=False)):
        want = [env[key].data_ptr() if kind.startswith("*") else env[key] for _, key, kind in launch.arguments]
        assert seen == {"function": at + 1, "grid": launch.grid, "warps": launch.warps, "shared": launch.shared, "stream": 77, "chained": launch.chained,
                        "values": [*want, 0, 0]}  # fmt: skip


def test_what_is_read_by_tma_is_five_parameters(tmp_path: Path) -> None:
    layer, codes = made(8, 8192, ring=True)
    assert [launch.kernel for launch in layer.launches][3:5] == ["up_ring_kernel", "down_ring_kernel"]
    assert layer.launches[3].arguments[:2] == (("xd", "part", "tma 256 2880"), ("xe", "part", "tma 32 2880"))
    for launch, code in zip(layer.launches, codes, strict=True):
        (tmp_path / launch.cubin).write_bytes(code)
    driver, env = Recorder(), environment(layer) | {"part": torch.zeros(3 * 2880).bfloat16(), "h": torch.zeros(5 * 384).bfloat16()}
    Loaded(layer, tmp_path, driver).bound(env, lambda: 77)()
    up, down = (driver.launched[at]["values"] for at in (3, 4))
    x, h = env["part"].data_ptr(), env["h"].data_ptr()
    assert up[:10] == [(x, 3, 2880, 256), 3, 2880, 2880, 1, (x, 3, 2880, 32), 3, 2880, 2880, 1]
    assert down[:10] == [(h, 5, 384, 256), 5, 384, 384, 1, (h, 5, 384, 32), 5, 384, 384, 1]
    pack.write([layer], tmp_path)
    assert pack.read(tmp_path) == [layer]


def test_a_type_that_no_kernel_of_ours_takes_is_refused() -> None:
    layer, _ = made(8, 1)
    launch = replace(layer.launches[0], arguments=(("M", "M", "i8"),))
    with pytest.raises(BadInput, match="M is i8, expected a pointer or one of i32, i64, fp32"):
        values(launch, {"M": 1})


def test_structures_have_cuda_hs_layout() -> None:
    """As gcc lays out cuda.h's of CUDA 13.5: CUlaunchConfig and CUlaunchAttribute."""
    assert ctypes.sizeof(Config) == 56 and ctypes.sizeof(Attribute) == 72 and Attribute.allowed.offset == 8
    assert [getattr(Config, name).offset for name in ("grid", "block", "shared", "stream", "attributes", "count")] == [0, 12, 24, 32, 40, 48]


_STAND_IN = r"""
#include <string.h>
#include <stdio.h>
typedef struct { unsigned gx, gy, gz, bx, by, bz, shared; void *stream; struct { unsigned id; char pad[4]; int allowed; char rest[60]; } *attrs; unsigned count; } C;
static char said[4096]; static int at;
#define SAY(...) at += snprintf(said + at, sizeof said - at, __VA_ARGS__)
const char *told(void) { return said; }
int cuModuleLoadData(void **module, const char *image) { *module = (void *)0x100; SAY("load %.5s\n", image); return strcmp(image, "bad") ? 0 : 200; }
int cuModuleGetFunction(void **function, void *module, const char *name) { *function = (void *)0x7f0000000001; SAY("function %s of %p\n", name, module); return 0; }
int cuFuncSetAttribute(void *function, int attribute, int value) { SAY("attribute %d = %d of %p\n", attribute, value, function); return 0; }
int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *address, const unsigned long long *dim, const unsigned long long *stride,
                           const unsigned *box, const unsigned *step, int interleave, int swizzle, int promotion, int fill) {
  memset(map, 7, 128);
  SAY("tiles aligned %d type %d rank %u at %p dim %llu,%llu stride %llu box %u,%u step %u,%u %d %d %d %d\n", (unsigned long long)map % 64 == 0, type, rank, address,
      dim[0], dim[1], stride[0], box[0], box[1], step[0], step[1], interleave, swizzle, promotion, fill);
  return 0;
}
int cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_INVALID_IMAGE"; return 0; }
int cuLaunchKernelEx(const C *c, void *function, void **params, void **extra) {
  SAY("launch %p grid %u,%u,%u block %u,%u,%u shared %u stream %p attrs %u", function, c->gx, c->gy, c->gz, c->bx, c->by, c->bz, c->shared, c->stream, c->count);
  if (c->count) SAY(" id %u allowed %d", c->attrs[0].id, c->attrs[0].allowed);
  SAY(" params %llx %d %g extra %p\n", *(unsigned long long *)params[0], *(int *)params[1], *(float *)params[2], (void *)extra);
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="NOT TESTED: no C compiler on PATH, so nothing stands in for libcuda")
def test_a_driver_gets_what_cuda_expects(tmp_path: Path) -> None:
    """The real class on a libcuda that prints what reaches it: handles wider than an int, the attribute of a chained launch, values by address."""
    (tmp_path / "stand_in.c").write_text(_STAND_IN)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(tmp_path / "libstand_in.so"), str(tmp_path / "stand_in.c")], check=True)
    cuda = Cuda(str(tmp_path / "libstand_in.so"))
    cuda.lib.told.restype = ctypes.c_char_p
    function = cuda.load(b"cubin", "up_kernel", FREE_SHARED + 1)
    held = [ctypes.c_uint64(0xABCDEF0123456789), ctypes.c_int32(-3), ctypes.c_float(1.5)]
    cuda.launch(function, (7, 2, 1), 8, 512, 0x7F00DEADBEEF, held, True)
    cuda.launch(function, (1, 1, 1), 4, 0, 0, held, False)
    assert cuda.lib.told().decode().splitlines() == [
        "load cubin", "function up_kernel of 0x100", f"attribute {MAX_DYNAMIC_SHARED} = {FREE_SHARED + 1} of 0x7f0000000001",
        "launch 0x7f0000000001 grid 7,2,1 block 256,1,1 shared 512 stream 0x7f00deadbeef attrs 1 id 6 allowed 1 params abcdef0123456789 -3 1.5 extra (nil)",
        "launch 0x7f0000000001 grid 1,1,1 block 128,1,1 shared 0 stream (nil) attrs 0 params abcdef0123456789 -3 1.5 extra (nil)",
    ]  # fmt: skip
    assert cuda.tiles(0x7F0012345600, 4096, 384, 256).raw == b"\x07" * 128
    assert cuda.lib.told().decode().splitlines()[-1] == "tiles aligned 1 type 9 rank 2 at 0x7f0012345600 dim 384,4096 stride 768 box 64,256 step 1,1 0 3 2 0"
    with pytest.raises(TuneforkError, match=r"cuModuleLoadData failed: CUDA_ERROR_INVALID_IMAGE \(200\)"):
        cuda.load(b"bad", "k", 0)


def test_without_a_gpu_nothing_is_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["time", str(tmp_path)]) == 1
    assert "no GPU: nothing can be timed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pack_is_made_without_a_gpu(tmp_path: Path) -> None:
    """By the installed Triton: three real cubins, each with the symbol that the manifest names, in far less than what may travel."""
    assert main(["compile", "--out", str(tmp_path), "--tp", "8", "--tokens", "1"]) == 0
    (layer,) = pack.read(tmp_path)
    assert len(layer.launches) == 3 and {launch.scratch for launch in layer.launches} <= {0, 1, 2}
    for launch in layer.launches:
        code = (tmp_path / launch.cubin).read_bytes()
        assert code.startswith(b"\x7fELF") and launch.symbol.encode() in code
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < pack.LIMIT // 20
