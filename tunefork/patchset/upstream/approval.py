"""Which ``Verified-by`` commands run unasked: those that a commit of this repository holds, and those that were approved once.

A patch file that was imported, mailed or downloaded brings commands of somebody else's. docs/decisions/0050 lists every place that runs text from
a file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from tunefork.base import jsons
from tunefork.base.errors import TuneforkError
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.patchset.git import Git
from tunefork.patchset.series import mail
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.series import SUFFIX


def record(layout: Layout) -> Path:
    """Where approvals are kept: with the user's cache, so that no repository can bring its own."""
    return layout.cache / "approved.json"


def unapproved(layout: Layout, upstream: str, patch: PatchFile) -> list[str]:
    """The patch's commands that nobody approved, in its order."""
    known = {*committed(layout, upstream, patch.name), *(each["command"] for each in approvals(layout) if each == entry(layout, upstream, patch.name, each))}
    return [command for command in patch.trailers("Verified-by") if command not in known]


def committed(layout: Layout, upstream: str, name: str) -> list[str]:
    """The commands of the patch file as the project's own HEAD has it; none outside a repository."""
    done = Git(layout.root).run("show", "--no-textconv", f"HEAD:./patches/{upstream}/{name}{SUFFIX}")
    try:
        return mail.read(name, done.out).trailers("Verified-by") if done.code == 0 else []
    except TuneforkError:
        return []


def approve(layout: Layout, upstream: str, patch: PatchFile, commands: Sequence[str]) -> None:
    """Keep that these commands of the patch may run from now on in this project."""
    now = time.strftime("%FT%TZ", time.gmtime())
    kept = [*approvals(layout), *(entry(layout, upstream, patch.name, {"command": command, "approved": now}) for command in commands)]
    write_atomically(record(layout), json.dumps(kept, indent=1).encode())


def approvals(layout: Layout) -> list[dict[str, str]]:
    """What was approved; of a damaged file nothing, so that the user is asked again."""
    try:
        found = jsons.loads(record(layout).read_bytes())
    except (OSError, ValueError):
        return []
    return [each for each in found if isinstance(each, dict) and {"command", "approved"} <= each.keys()] if isinstance(found, list) else []


def entry(layout: Layout, upstream: str, patch: str, of: dict[str, str]) -> dict[str, str]:
    """An approval of this project and patch, with another's command and date."""
    return {"root": str(layout.root), "upstream": upstream, "patch": patch, "command": of["command"], "approved": of["approved"]}
