"""What we take for granted of AITER, held to its source."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from tunefork.base.upstream_facts import aiter as facts

ROOT = Path(__file__).resolve().parents[3]


def test_they_are_of_the_pinned_release() -> None:
    assert tomllib.loads((ROOT / "pins.toml").read_text())["upstreams"]["aiter"]["version"] == facts.RELEASE


def test_the_bound_of_bf16_activations_and_its_default(aiter: Any) -> None:
    assert f'int(os.environ.get("{facts.BF16_BOUND}", "{facts.BF16_BOUND_DEFAULT}"))' in aiter.text("aiter/fused_moe.py")


def test_its_name_and_what_its_build_asks_for(aiter: Any) -> None:
    setup = aiter.text("setup.py")
    assert re.search(rf'^PACKAGE_NAME = "{facts.DISTRIBUTION}"', setup, re.MULTILINE)
    assert f'os.environ.get("{facts.SYSTEM_TRITON}", "0")' in setup
    assert facts.JIT_DIR in aiter.strings("aiter/jit/core.py")


def test_the_grouped_gemm_is_where_we_look_for_it(aiter: Any) -> None:
    assert aiter.function(facts.A16W4_HOST, "get_kernel_config") and aiter.function(facts.A16W4_KERNEL, "_moe_gemm_a16w4")
    assert facts.A16W4_KERNEL.startswith(facts.TRITON) and facts.A16W4_HOST.startswith(facts.TRITON)
