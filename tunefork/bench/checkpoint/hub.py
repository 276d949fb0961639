"""A checkpoint by its name on a hub: the folder that huggingface_hub's cache has of it, fetched where it has none and may ask.

Everything that huggingface_hub reads from the environment holds: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput, MissingTool, SourceError, TuneforkError, first_line
from tunefork.base.process import Say
from tunefork.base.typed import typed
from tunefork.bench.checkpoint.check import INDEX, named_files

NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
WANTED = ["*.safetensors", "*.gguf", "config.json", INDEX]
BELOW = ["*/*"]
"""What GPT-OSS's repository has in folders is the same weights in other forms; vLLM does not read them either."""
ROOM = 1 << 30
"""Bytes of a disk that a fetch leaves free."""


def names(text: str) -> bool:
    """Whether a text that is no path here can be a name on a hub: OWNER/NAME, or OWNER/NAME@REVISION."""
    return not Path(text).exists() and NAME.fullmatch(text) is not None


def folder(text: str, say: Say) -> Path:
    """The snapshot's folder. Errors: SourceError where the cache has none and none can be had; BadInput for a name that the hub does not know."""
    try:
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise MissingTool(f"{text} is no path here, and asking a hub needs huggingface_hub, not installed",
                          f"{typed(sys.executable)} -m pip install huggingface_hub, or give a folder") from None
    found = NAME.fullmatch(text)
    assert found is not None
    repo, revision = found["repo"], found["revision"]
    try:
        cached = Path(snapshot(repo, revision, local_files_only=True))
    except LocalEntryNotFoundError:
        cached = None
    except HFValidationError as error:
        raise BadInput(f"{text} is no path here and no name of a hub: {first_line(error)}", "give a folder") from None
    if cached is None or not whole(cached):
        return fetched(text, repo, revision, say)  # a fetch that was cut goes on
    say(f"{text}: as huggingface_hub's cache has it, {cached}")
    return cached


def snapshot(repo: str, revision: str | None, **how: Any) -> Any:
    """huggingface_hub's snapshot_download of the files that are looked at: their folder, or under ``dry_run`` what would be fetched."""
    import huggingface_hub as hub

    return hub.snapshot_download(repo, revision=revision, allow_patterns=WANTED, ignore_patterns=BELOW, **how)


def whole(kept: Path) -> bool:
    """Whether a snapshot has every file that its index names; without an index, any weights."""
    try:
        return all((kept / name).is_file() for name in named_files(kept / INDEX))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return any(path.suffix in (".safetensors", ".gguf") for path in kept.iterdir())


def fetched(text: str, repo: str, revision: str | None, say: Say) -> Path:
    """Fetch the weights into the cache, once their size is said and the disk has room."""
    import huggingface_hub as hub
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    where, cache = constants.ENDPOINT, Path(constants.HF_HUB_CACHE)
    absent = f"{text} is no path here and not in {cache}"
    try:
        hub.HfApi().repo_info(repo, revision=revision)  # whose errors say what is the matter
        plan = snapshot(repo, revision, dry_run=True)
        size, left = (sum(one.file_size or 0 for one in some) for some in (plan, [one for one in plan if one.will_download]))
        if not plan:
            raise BadInput(f"{text} has no .safetensors and no .gguf file", "give the name of an MXFP4 checkpoint of GPT-OSS")
        free = shutil.disk_usage(next(each for each in (cache, *cache.parents) if each.exists())).free
        if left > free - ROOM:
            raise SourceError(f"{text}: {left / 2**30:.1f} GiB are to be fetched, {cache} has {free / 2**30:.1f} free", "HF_HUB_CACHE=FOLDER on another disk")
        say(f"{text}: fetching {left / 2**30:.2f} of {size / 2**30:.2f} GiB from {where} into {cache}")
        if not sys.stderr.isatty():
            disable_progress_bars()
        return Path(snapshot(repo, revision))
    except OfflineModeIsEnabled:
        name = next((each for each in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(each)), "HF_HUB_OFFLINE")
        raise SourceError(f"{absent}, and {name} forbids to ask {where}", f"unset {name}, or give a folder") from None
    except RevisionNotFoundError:
        raise BadInput(f"{repo} has no revision {revision} at {where}", f"python3 build.py checkpoint check {repo}") from None
    except RepositoryNotFoundError:
        raise BadInput(f"{absent}, and {where} has no {repo}, or not for you", "give a folder, or OWNER/NAME as the hub spells it; for a private one "
                       "HF_TOKEN=...") from None  # fmt: skip
    except TuneforkError:
        raise
    except Exception as error:  # what cannot be reached, by the names of an HTTP library that differs between versions
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SourceError(f"{absent}, and {where} did not give it: {type(error).__name__}: {why[:160]}",
                          "give a folder, or run it where the hub can be reached") from None
