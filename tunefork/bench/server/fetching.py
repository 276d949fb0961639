"""How far a server's fetch of its model from a hub is, from the hub's cache: vLLM's log says that it begins to load and, later, how long the fetch took.

Between the two it is silent: download_weights_from_hf (vllm/model_executor/model_loader/weight_utils.py, vLLM 0.33.0) gives the hub's library a bar that
draws nothing. The index, which comes first, says how many bytes the weights have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from tunefork.base import jsons

GIB = 1 << 30
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PART = ".incomplete"
"""What the hub's library calls a file that it is at."""
INDEX = "model.safetensors.index.json"
MOST = 1 << 60  # bytes; the index is a stranger's


def words(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """"fetching openai/gpt-oss-120b, 12.3 of 60.8 GiB": what a server is at, or "" where its model is no hub's or nothing is being fetched."""
    model = name(argv)
    if not model:
        return ""
    folder = cache(argv, env) / f"models--{model.replace('/', '--')}"
    try:
        files = [(path.name, path.stat().st_size) for path in (folder / "blobs").iterdir()]
    except OSError:  # not begun, or a file that was renamed meanwhile
        return ""
    if not any(each.endswith(PART) for each, _ in files):
        return ""
    done, total = sum(size for _, size in files), whole(folder)
    return f"fetching {model}, {done / GIB:.1f}{f' of {total / GIB:.1f}' if total else ''} GiB"


def name(argv: Sequence[str]) -> str:
    """The model of a command of vLLM, where it is a hub's and no path here; else ""."""
    after = [two for one, two in pairwise(argv) if one in ("serve", "--model")]
    return next((one for one in after if NAME.fullmatch(one) and not Path(one).exists()), "")


def cache(argv: Sequence[str], env: Mapping[str, str]) -> Path:
    """vLLM's --download-dir, or huggingface_hub's cache."""
    given = next((two for one, two in pairwise(argv) if one == "--download-dir"), "") or env.get("HF_HUB_CACHE", "")
    if given:
        return Path(given).expanduser()
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(home).expanduser() / "hub"


def whole(folder: Path) -> int:
    """Bytes of the weights by the index of any snapshot; 0 where none is there yet, or none that says what a disk could hold."""
    for path in folder.glob(f"snapshots/*/{INDEX}"):
        try:
            said = int(jsons.loads(path.read_bytes())["metadata"]["total_size"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            continue
        if 0 < said < MOST:
            return said
    return 0
