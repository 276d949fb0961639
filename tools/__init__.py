"""Scripts of the maintainers; run from the checkout's root, not shipped in the wheel.

    .venv/bin/python -m tools.vendor
"""

import sys
from pathlib import Path

# `-m` puts the root first on the path, where the link `kernels` would shadow the library of that name. It goes last, not away: a process
# that multiprocessing spawns imports this package again.
if Path(sys.path[0] or ".").resolve() == Path(__file__).resolve().parents[1]:
    sys.path.append(sys.path.pop(0))
