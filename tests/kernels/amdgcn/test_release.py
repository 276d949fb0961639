"""What programs that add up each other's parts need on a chip of several L2 caches, read from their gfx950 code."""

from __future__ import annotations

import pytest

from tunefork.kernels import registry
from tunefork.kernels.amdgcn.assembly import parse
from tunefork.kernels.amdgcn.compile import Compiled, compile_all


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), [("up_kernel", "SPLIT"), ("down_sorted_kernel", "FUSED"), ("router_kernel", "NORM")])
def test_every_waves_parts_have_arrived_before_one_wave_releases_them(name: str, part: str) -> None:
    """The wave that counts a part as done writes back its own stores alone; another program adds the parts up, maybe behind another L2. The executor
    has one memory and cannot see it."""
    entry = next(row for row in registry.shipped() if row.fn.__name__ == name and int(row.constexprs.get(part, 0)) > (part == "SPLIT"))
    (code,) = compile_all([entry], workers=1)
    assert isinstance(code, Compiled)
    items = parse(code.text).instructions
    names = [item.mnemonic for item in items]
    atomic = next(at for at, found in enumerate(names) if "atomic_add" in found)
    stored = max(at for at, found in enumerate(names[:atomic]) if "_store_" in found and not found.startswith("ds_"))
    barrier = names.index("s_barrier", stored)
    assert stored < barrier < atomic
    waits = [item.text for item in items[stored:barrier] if item.mnemonic == "s_waitcnt"]
    assert any("vmcnt(0)" in wait for wait in waits), waits
