"""kernels/deferred.py: what we ship can be listed without torch and triton, and what is read from the source is what Triton sees."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tunefork.kernels.deferred import Deferred

LIST = """
import sys
for name in ("torch", "triton"):
    sys.modules[name] = None  # importing it fails
from tunefork.cli.main import main
sys.exit(main(["kernels", "list", "--json"]))
"""


def test_listing_needs_neither_torch_nor_triton() -> None:
    done = subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["kernel"] for row in rows} >= {"moe_a16w4.route_kernel", "moe_a16w4.up_kernel", "moe_a16w4.down_token_kernel"}


def test_a_name_that_the_module_lacks() -> None:
    with pytest.raises(AttributeError, match=r"deferred has no function 'up_kernel'"):
        Deferred("tunefork.kernels.deferred").up_kernel  # noqa: B018


def test_what_the_source_says_is_what_triton_sees() -> None:
    pytest.importorskip("triton", reason="NOT TESTED: needs triton (`pip install -e .[kernels]`)")
    from tunefork.kernels import registry

    functions = {repr(row.fn): row.fn for arch in ("gfx950", "sm90") for row in registry.shipped(arch)}
    assert len(functions) > 5
    for name, function in functions.items():
        assert function.arg_names == list(function.function.arg_names), name
        assert function.__name__ == function.function.__name__
