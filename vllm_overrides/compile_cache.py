"""A compiled model that vLLM keeps belongs to the overrides that it was compiled under.

vLLM finds a kept model by its configuration, environment and the place of the model's forward, and then compares the sources that were traced when it
was compiled (vllm/compilation/decorators.py, 0.33.0). A class that a plugin puts in another's place is in none of them: a server with the override
would run what one without it has compiled, in silence. So the names and the sources of the overrides become part of the key.

Remove when: vLLM's key covers what its plugins change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def tell(names: Sequence[str]) -> None:
    """Add the overrides to the key under which this process keeps and finds compiled models. A second call changes nothing."""
    try:
        from vllm.compilation import caching

        whole = caching.aot_compile_hash_factors
    except (ImportError, AttributeError):  # a vLLM that keeps no compiled model
        return
    if hasattr(whole, "overrides"):
        return
    factor = f"{','.join(names)} {sources()}"

    def aot_compile_hash_factors(vllm_config: Any) -> list[str]:
        return [*whole(vllm_config), factor]

    setattr(aot_compile_hash_factors, "overrides", factor)  # noqa: B010 - a function has no such attribute for mypy
    caching.aot_compile_hash_factors = aot_compile_hash_factors


def sources() -> str:
    """A hash of this package's modules."""
    found = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.py")):
        found.update(str(path.relative_to(FOLDER)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()
