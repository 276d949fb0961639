"""The chips: every constant of one that our kernels, their compiler, the executor or an estimate use. Another chip is one more `Arch`.

`gfx950` is AMD's name of CDNA4 (MI355X, MI350X), `sm90` NVIDIA's of Hopper (H200, H100). The names are keys: of configs/<name>.json, and of
`arch` wherever one is asked for. Sources: AMD's CDNA4 white paper and MI355X data sheet, LLVM's AMDGPU usage guide; NVIDIA's CUDA programming guide
(compute capability 9.0) and H200 data sheet. None of these numbers was measured here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """One architecture, in AMD's words: a wave is NVIDIA's warp, a CU its SM, LDS its shared memory.

    backend, processor: as Triton names them. fragment: the order in which its matrix instruction wants weights (mxfp4/layout.py), LAYOUT of the kernels:
    "gfx950" for v_mfma_f32_16x16x32_bf16, "nvidia" for mma.m16n8k16, which all of NVIDIA's chips since Ampere have.

    lanes: per wave. columns: of that instruction, tokens here. xcds: dies with an L2 of their own, to which programs are dealt in turn. cus: all of
    the chip's. simds: per CU. waves: most per SIMD. registers, register_granule: 32-bit vector registers of a lane that a SIMD's waves share.
    lds, lds_granule: bytes per CU. clock: peak MHz. bandwidth: of memory, bytes per second.
    """

    name: str
    chip: str
    backend: str
    processor: str | int
    fragment: str
    lanes: int
    columns: int
    xcds: int
    cus: int
    simds: int
    waves: int
    registers: int
    register_granule: int
    lds: int
    lds_granule: int
    clock: int
    bandwidth: float

    @property
    def target(self) -> tuple[str, str | int, int]:
        """What Triton's GPUTarget takes."""
        return self.backend, self.processor, self.lanes

    @property
    def register_file(self) -> int:
        """Vector registers of a CU, 32 bits each."""
        return self.simds * self.registers * self.lanes


GFX950 = Arch(
    name="gfx950", chip="MI355X", backend="hip", processor="gfx950", fragment="gfx950", lanes=64, columns=16, xcds=8, cus=256, simds=4, waves=8,
    registers=512, register_granule=8, lds=160 * 1024, lds_granule=1280, clock=2400, bandwidth=8e12,
)  # fmt: skip
SM90 = Arch(
    name="sm90", chip="H200", backend="cuda", processor=90, fragment="nvidia", lanes=32, columns=8, xcds=1, cus=132, simds=4, waves=16,
    registers=512, register_granule=8, lds=228 * 1024, lds_granule=128, clock=1980, bandwidth=4.8e12,
)  # fmt: skip
ARCHES = {arch.name: arch for arch in (GFX950, SM90)}
