"""Whose plan a campaign is: one that this user planned, or said yes to, is run unasked; any other is shown first.

A plan that was handed over starts servers with its environment and flags. What is known is kept with the user's cache, where no folder can bring
its own; docs/decisions/0050 lists every place that runs text from a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base import redact
from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.bench.campaign.planned import ADAPTER, Planned
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.profiles.profile import Profile


@dataclass(frozen=True)
class Seen:
    """A plan with its profile as it was read once: what is shown is what is approved, whatever its file says by then."""

    planned: Planned
    profile: Profile

    def given(self) -> dict[str, Any]:
        """What the plan's profile starts; nothing for one of ours, which a commit of this project brought."""
        found = self.profile
        return {} if found.path.parent == profiles.PROFILES else {"model": found.model, "server": found.server, "environment": found.environment}

    def digest(self) -> str:
        """Of all that decides what is run: the plan and what its profile starts."""
        return hashlib.sha256(ADAPTER.dump_json(self.planned) + json.dumps(self.given(), sort_keys=True, default=str).encode()).hexdigest()

    def note(self, layout: Layout) -> Path:
        """The file that says that this plan may be run; one for each, so that two commands do not write the same."""
        return layout.cache / "campaigns" / self.digest()

    def known(self, layout: Layout) -> bool:
        return self.note(layout).is_file()

    def approve(self, layout: Layout) -> None:
        """Keep that this very plan may be run from now on."""
        write_atomically(self.note(layout), f"{self.planned.name}\n".encode())

    def lines(self) -> Iterator[str]:
        """What running it would start, a line for each thing that the plan or its profile says; secrets' values are left out."""
        planned, found = self.planned, self.profile
        yield f"profile {planned.profile}: model {planned.race.get('model') or found.model}, patches: {planned.against}"
        yield from (f"environment: {name}={value}" for name, value in redact.environment(found.environment).items())
        yield from (f"server: --{flag} {redact.text(json.dumps(value))}" for flag, value in found.server.items())
        yield from (f"load: {name} = {redact.text(json.dumps(value, default=str))}" for name, value in planned.race.items() if value is not None)
        for one in planned.candidates:
            yield f"{one.name}: " + (f"patch {one.patch}" if one.patch else ", ".join(changed(key, value) for key, value in one.changes))
        if planned.ray:
            yield f"on the Ray cluster {planned.ray}"
        if planned.tune:
            yield f"kernels tune --tp {' '.join(planned.tune)}"


def seen(planned: Planned) -> Seen:
    """A plan, with what its profile's file says now."""
    return Seen(planned, profiles.load(planned.profile))


def require(planned: Planned, approved: str) -> None:
    """BadInput where plan and profile are no longer what this digest is of: before each start, which reads the profile anew."""
    if seen(planned).digest() != approved:
        raise BadInput(f"profile {planned.profile} has changed since this campaign began", f"python3 build.py campaign run --name {planned.name} (it shows it)")


def changed(key: str, value: Any) -> str:
    return f"{key} = {redact.REDACTED if redact.is_secret(key, str(value)) else redact.text(json.dumps(value, default=str))}"
