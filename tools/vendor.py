"""Our MoE kernel as a patch that adds it to AITER, made from kernels/: ``.venv/bin/python3 -m tools.vendor [--check]``.

Writes patches/aiter/tunefork-moe.patch: kernels/{arch,deferred,model}.py and the modules of kernels/moe_a16w4 and kernels/mxfp4 as they are, but for those
in LEFT_OUT, except that their imports name the package's place in AITER, and a line that says where to edit. Then `python3 build.py patch lock aiter`
records it. ``--check`` writes nothing and ends with 1 where the patch holds something else; tests/patches/test_tunefork_moe.py does the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.patchset.series import diff
from tunefork.patchset.series.diff import blob_id
from tunefork.patchset.series.mail import read

NAME = "tunefork-moe"
PACKAGE = "aiter/ops/triton/moe/tunefork"
# ring.py and ring_kernel.py are for sm_90. AITER only reads weights: of mxfp4 it gets the format and our layouts, and an __init__ that imports nothing.
LEFT_OUT = {"moe_a16w4": {"reference", "ring", "ring_kernel"}, "mxfp4": {"__init__", "interchange", "rules"}}
ALONE = ("arch", "deferred", "model")
TABLE = "moe_a16w4/configs/gfx950.json"
IMPORTS = {"tunefork.kernels": PACKAGE.replace("/", "."), "tunefork.base.errors": PACKAGE.replace("/", ".") + ".errors"}
HEADER = "# SPDX-License-Identifier: Apache-2.0\n# Generated from Tunefork's kernels/{source}; edit it there.\n"
MXFP4_INIT = '"""MXFP4 weights: the format, and the layouts that the MoE kernels read."""\n'
INIT = '"""Tunefork\'s MXFP4 MoE layer: ``from {package}.moe_a16w4 import fused_moe, prepare_weights``."""\n'
ERRORS = '''"""What a caller passed cannot be run."""


class BadInput(ValueError):
    """message: what was expected and what came.  remedy: what to pass instead."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
'''


def modules(kernels: Path) -> list[str]:
    """The modules that are vendored, as "arch" or "moe_a16w4.kernel"."""
    return sorted([*ALONE, *(f"{part}.{path.stem}" for part, out in LEFT_OUT.items() for path in (kernels / part).glob("*.py") if path.stem not in out)])


def vendored(kernels: Path) -> dict[str, str]:
    """Path in AITER -> text, of every file that the patch adds. Errors: ValueError for an import of ours that is not vendored."""
    package, names = PACKAGE.replace("/", "."), modules(kernels)
    files = {
        f"{PACKAGE}/__init__.py": HEADER.format(source="") + INIT.format(package=package),
        f"{PACKAGE}/mxfp4/__init__.py": HEADER.format(source="mxfp4/") + MXFP4_INIT,
        f"{PACKAGE}/errors.py": HEADER.format(source="") + ERRORS,
        f"{PACKAGE}/{TABLE}": (kernels / TABLE).read_text(),
    }
    for name in names:
        source = f"{name.replace('.', '/')}.py"
        files[f"{PACKAGE}/{source}"] = HEADER.format(source=source) + adapted((kernels / source).read_text(), source, names)
    return files


def adapted(text: str, source: str, names: Sequence[str]) -> str:
    """A module's text with imports from its place in AITER. Errors: ValueError for a module of ours that is not among ``names``."""
    for ours, theirs in IMPORTS.items():
        text = re.sub(rf"\b{re.escape(ours)}\b", theirs, text)
    package = PACKAGE.replace("/", ".")
    known = {f"{package}.{name}" for name in (*names, *LEFT_OUT, "errors")}
    for name in re.findall(r"^\s*from (\S+) import", text, re.MULTILINE):
        if "tunefork" in name and name not in known:
            raise ValueError(f"kernels/{source} imports {name}, which is not vendored")
    return text


def added(path: str, text: str) -> str:
    """A new file as a diff."""
    lines = text.splitlines(keepends=True)
    body = "".join(f"+{line}" for line in lines)
    head = f"diff --git a/{path} b/{path}\nnew file mode 100644\nindex {'0' * 40}..{blob_id(text.encode())}\n"
    return f"{head}--- /dev/null\n+++ b/{path}\n@@ -0,0 +1,{len(lines)} @@\n{body}" if lines else head


def held(patch: Path) -> dict[str, str]:
    """Path -> text of every file that a patch adds."""
    changes = diff.parse(patch.name, read(NAME, patch.read_bytes()).diff)
    return {change.new_path.decode(): change.apply(b"").decode() for change in changes}


def main() -> int:
    layout = Layout.here()
    patch = layout.series_dir("aiter") / f"{NAME}.patch"
    files = vendored(layout.root / "tunefork/kernels")
    if held(patch) == files:
        print(f"{NAME}: is what kernels/ gives")
        return 0
    if "--check" in sys.argv[1:]:
        print(f"error: {patch} is not what kernels/ gives\n  try: .venv/bin/python3 -m tools.vendor, "
              "then python3 build.py patch lock aiter", file=sys.stderr)  # fmt: skip
        return 1
    head = patch.read_text().split("\ndiff --git ", 1)[0]
    patch.write_text(head + "\n" + "".join(added(path, files[path]) for path in sorted(files)))
    print(f"{NAME}: written; now run python3 build.py patch lock aiter")
    return 0


if __name__ == "__main__":
    sys.exit(main())
