"""A campaign as it was planned: written once, by ``campaign plan`` or the first ``campaign run``, and never changed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tunefork.base.checked import from_json
from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.base.near import near, question
from tunefork.base.typed import typed
from tunefork.bench.ab.experiment import folder_name, is_folder_name
from tunefork.bench.campaign import candidate as candidates
from tunefork.bench.campaign.candidate import Candidate, Rejected
from tunefork.bench.campaign.cost import Costs
from tunefork.bench.campaign.day import Rules
from tunefork.bench.campaign.plan import Step
from tunefork.bench.campaign.racing import Arm
from tunefork.bench.campaign.space import Space
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.profiles.profile import Profile
from tunefork.bench.run import settings as configure
from tunefork.bench.run.settings import Settings

FILE = "campaign.json"
PARALLEL = tuple(f"server.{flag}" for flag in profiles.PARALLEL)


@dataclass(frozen=True)
class Planned:
    """profile: name or path.  against: the reference's patches, ``base`` or ``all``.  gpus: of the campaign, 0 on a CPU.

    race: the settings of a start of the race (load).  rejected: cannot be tried.  left_out: do not fit into the hours.  tune: tensor-parallel
    sizes whose kernel tables are tuned first.  ray: address of the cluster that has the GPUs, "" for this machine.
    """

    name: str
    profile: str
    against: str
    spaces: tuple[str, ...]
    hours: float
    gpus: int
    race: Mapping[str, Any]
    client: str
    metric: str
    threshold: float
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    left_out: tuple[str, ...]
    costs: Costs
    rules: Rules
    steps: tuple[Step, ...]
    tune: tuple[str, ...] = ()
    ray: str = ""

    @property
    def minutes(self) -> float:
        return 60 * self.hours

    def settings(self) -> Settings:
        """Of one start of the race."""
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in self.race.items()}
        return Settings.model_validate({**plain, "profile": self.profile, "port": 0})

    def members(self, arm: Arm) -> list[Candidate]:
        known = candidates.by_name(self.candidates)
        return [known[name] for name in arm]

    def served(self, arm: Arm) -> Profile:
        """The profile of an arm with the race's load."""
        return candidates.served(configure.profile(self.settings()), self.members(arm))

    def gpus_of(self, *arms: Arm) -> int:
        """GPUs that a server of any of these takes; 0 on a CPU."""
        return max(self.served(arm).gpus for arm in arms) if self.gpus else 0

    @property
    def per_lane(self) -> int:
        """GPUs that every start fits on, those of a CPU's server too."""
        return max(self.served(arm).gpus for arm in [(), *((one.name,) for one in self.candidates)])

    def variant(self, arm: Arm) -> str:
        return candidates.variant(self.against, self.members(arm))


ADAPTER: TypeAdapter[Planned] = TypeAdapter(Planned)


def named(arm: Arm) -> str:
    """An arm in words."""
    return "+".join(arm) or candidates.REFERENCE


def folder(layout: Layout, name: str) -> Path:
    """Where a campaign lives; BadInput for a name that is no folder's."""
    return layout.work / "campaigns" / folder_name(name, "my-day")


def names(layout: Layout) -> list[str]:
    """The campaigns there are, the newest first."""
    found = (layout.work / "campaigns").glob(f"*/{FILE}")
    return [path.parent.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def write(where: Path, planned: Planned) -> None:
    write_atomically(where / FILE, ADAPTER.dump_json(planned, indent=1) + b"\n")


def read(where: Path) -> Planned:
    """BadInput where there is none, or it is damaged."""
    path = where / FILE
    try:
        data = path.read_bytes()
    except OSError:
        meant = near(where.name, [found.parent.name for found in where.parent.glob(f"*/{FILE}")])
        raise BadInput(f"no campaign {where.name!r}",
                       question(meant) + f"python3 build.py campaign plan --hours 3 --profile stage2 --name {where.name}") from None
    planned = from_json(Planned, data, f"{path}: not a campaign", f"move {typed(where)} away and plan again")
    if not is_folder_name(planned.name):  # it stands in labels, commands and a profile of ours
        raise BadInput(f"{path}: not a campaign: its name is {planned.name!r}", f"move {typed(where)} away and plan again")
    return planned


def rivals(found: Sequence[Candidate], served: Profile, space: Space, gpus: int) -> dict[str, frozenset[str]]:
    """By name, those that cannot be had together with it: they touch the same, a constraint forbids the two, or both need more than ``gpus``."""
    spoken = {key for one in space.constraints for key in (one.left, one.right, *one.when)} | set(PARALLEL)
    watched = [one for one in found if one.keys & spoken]
    made = {one.name: {other.name for other in found if other is not one and candidates.exclusive(one, other)} for one in found}
    for one, other in itertools.combinations(watched, 2):
        if not candidates.exclusive(one, other) and space.refuses(candidates.served(served, [one, other]), gpus or None):
            made[one.name].add(other.name)
            made[other.name].add(one.name)
    return {name: frozenset(others) for name, others in made.items()}
