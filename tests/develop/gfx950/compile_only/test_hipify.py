"""torch's hipify runs without torch's import where the script lets it, and with it where not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tunefork.base.errors import BuildError
from tunefork.develop.gfx950.compile_only.toolchain import hipify

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch")


@pytest.mark.slow
def test_a_script_is_tried_without_importing_torch(tmp_path: Path) -> None:
    script = tmp_path / "hipify.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nimport torch\nfrom torch.utils.hipify.hipify_python import hipify\n"
        "out, *needs = sys.argv[1:]\nassert __name__ == '__main__'\n"
        "Path(out).write_text(f\"{hasattr(torch, 'Tensor')} {torch.Tensor.__name__ if needs else ''}\")\n"
    )
    hipify([str(tmp_path / "fast")], script=script)
    assert (tmp_path / "fast").read_text() == "False "
    hipify([str(tmp_path / "whole"), "torch itself"], script=script)
    assert (tmp_path / "whole").read_text() == "True Tensor"
    script.write_text("raise SystemExit('no such mapping')")
    with pytest.raises(BuildError, match="no such mapping") as caught:
        hipify([], script=script)
    anew = re.search("`.* -m pip install --force-reinstall --no-deps torch==[0-9.]+`", caught.value.remedy)
    assert "doctor --target gfx950" in caught.value.remedy and bool(anew) == (torch.version.hip is None)  # an index has no ROCm build
