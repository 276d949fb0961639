"""A YAML file that the user hands to `vllm serve --config`: what vLLM would drop from it in silence is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tunefork.base.errors import BadInput

# vLLM 0.33.0 turns `key: false` into `--no-key` only where such an option exists, and its options have dashes. YAML 1.1 has these words for false.
_DROPPED = re.compile(r"(?P<quote>[\"']?)(?P<key>[A-Za-z0-9-]+_[A-Za-z0-9_-]*)(?P=quote)\s*:\s*(?P<value>false|no|off)\s*(#.*)?", re.IGNORECASE)


def config_files(extra: Sequence[str]) -> Iterator[Path]:
    """The files that further vLLM arguments name with --config."""
    for at, word in enumerate(extra):
        if word == "--config" and at + 1 < len(extra):
            yield Path(extra[at + 1])
        elif word.startswith("--config="):
            yield Path(word.removeprefix("--config="))


def check_config_files(extra: Sequence[str]) -> None:
    """Errors: BadInput for a top-level key with an underscore whose value is false, with its line. A file that is not there is vLLM's to say."""
    for path in config_files(extra):
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if found := _DROPPED.fullmatch(line.rstrip()):
                raise BadInput(f"{path}:{number}: vLLM drops `{line.strip()}`: a false value counts only under a name with dashes",
                               f"write {found['key'].replace('_', '-')}: {found['value']}")
