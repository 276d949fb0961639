"""What is measured: a server that answers, and all that a record must say of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tunefork.bench.records.schema import ServerRecord, Tree
from tunefork.bench.server.command import DROPPED

NO_PROXY = ("no_proxy", "NO_PROXY")


def no_watch() -> None:
    """For a server that somebody else supervises."""


@dataclass(frozen=True)
class Target:
    """One server. python: the interpreter with the client and lm_eval.  env: the profile's variables, for those too.

    check: raises ServeError when the server has ended.  trial: names this server start in every record.
    """

    server: ServerRecord
    trees: tuple[Tree, ...]
    versions: Mapping[str, str]
    python: Path
    env: Mapping[str, str]
    cwd: Path
    trial: str
    check: Callable[[], None] = no_watch

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of the client and of lm_eval.

        They run the installed code and never the variant's (no PYTHONPATH), so that both arms of an A/B meet the same client. They
        reach the server directly: a proxy of the environment, which lm_eval may need for its data, would be measured with it.
        """
        kept = {key: value for key, value in os.environ.items() if key not in DROPPED}
        return {**kept, **self.env, **direct(self.server.base_url, {**kept, **self.env}), **more}


def direct(url: str, environment: Mapping[str, str]) -> dict[str, str]:
    """``no_proxy`` in both spellings: what the environment says in either, and a URL's host."""
    said = [name for key in NO_PROXY for name in environment.get(key, "").split(",") if name.strip()]
    whole = ",".join(dict.fromkeys([*(name.strip() for name in said), urlsplit(url).hostname or ""]))
    return dict.fromkeys(NO_PROXY, whole)
