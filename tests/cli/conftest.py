"""What the tests of the command line share: the world of the manager's tests, and each other's helpers."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
