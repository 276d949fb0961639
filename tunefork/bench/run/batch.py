"""A batch: the results directory of one ISL/OSL pair, and what is known of each of its CONC.

    batch_isl1024_osl1024_20261122_101500/
        batch.json                            the plan and the state of each CONC: how an interrupted batch goes on
        result_isl1024_osl1024_conc4.json     one per CONC that passed (run/result.py)
        summary.txt                           the table, and what must be known to read it
        accuracy-1/, conc4-1/, ...            what lm_eval and the client said, per attempt

``batch.json`` is replaced in one step at every change, so that it is true whenever the tool is killed: a CONC that it calls running
belongs to a tool that died.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from tunefork.base import redact
from tunefork.base.checked import from_json
from tunefork.base.errors import BadInput
from tunefork.base.files import write_atomically
from tunefork.bench.records.schema import Model
from tunefork.bench.run.settings import Settings

STATE = "batch.json"
EntryStatus = Literal["pending", "running", "passed", "failed", "interrupted", "skipped"]


class Entry(Model):
    """One CONC. record: its record, where it left one.  problem: why it did not pass.  skipped: it was not tried."""

    conc: int
    status: EntryStatus = "pending"
    record: str | None = None
    problem: str | None = None


class State(Model):
    """batch.json. tree, version: of the vLLM under test, "" for a server that was not ours.  begun: ISO 8601, "" in batches of before."""

    format: Literal[1] = 1
    settings: Settings
    isl: int
    osl: int
    tree: str
    version: str
    begun: str = ""
    entries: tuple[Entry, ...]


class Batch:
    """A batch directory."""

    def __init__(self, folder: Path, state: State) -> None:
        self.folder, self.state = folder, state

    @classmethod
    def create(cls, parent: Path, settings: Settings, isl: int, osl: int, conc: tuple[int, ...], *, tree: str, version: str) -> Batch:
        """A new directory under ``parent``; two of one second get different names."""
        stamp, begun = time.strftime("%Y%m%d_%H%M%S"), time.strftime("%Y-%m-%d %H:%M:%S %z")
        name = f"batch_isl{isl}_osl{osl}_{stamp}"
        for suffix in ("", *(f"_{number}" for number in range(2, 1000))):
            folder = parent / f"{name}{suffix}"
            try:
                parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir()
            except FileExistsError:
                continue
            except OSError as error:
                raise BadInput(f"cannot make {folder}: {error.strerror}", "--out a folder that can be written") from None
            state = State(settings=settings, isl=isl, osl=osl, tree=tree, version=version, begun=begun,
                          entries=tuple(Entry(conc=one) for one in conc))
            batch = cls(folder, state)
            batch.save()
            return batch
        raise BadInput(f"a thousand batches of this second in {parent}", "another --out")

    @classmethod
    def load(cls, folder: Path) -> Batch:
        """A batch that is there; a CONC that was running when its tool died is called interrupted."""
        path = folder / STATE
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{folder} is no batch: {error.strerror}", f"a directory with a {STATE}") from None
        state = from_json(State, data, f"{path} is damaged", "start a new batch; its records are still in the store")
        entries = tuple(entry.model_copy(update={"status": "interrupted", "problem": "the tool ended while it ran"})
                        if entry.status == "running" else entry for entry in state.entries)
        return cls(folder, state.model_copy(update={"entries": entries}))

    def save(self) -> None:
        """Write the state in one step, without the secrets among vLLM's arguments."""
        told = self.state.settings.model_copy(update={"extra": redact.words(self.state.settings.extra)})
        write_atomically(self.folder / STATE, self.state.model_copy(update={"settings": told}).model_dump_json(indent=1).encode() + b"\n")

    def entry(self, conc: int) -> Entry:
        """What is known of a CONC."""
        return next(entry for entry in self.state.entries if entry.conc == conc)

    def mark(self, conc: int, status: EntryStatus, *, record: str | None = None, problem: str | None = None) -> None:
        """Change one CONC and save."""
        changed = Entry(conc=conc, status=status, record=record, problem=problem)
        entries = tuple(changed if entry.conc == conc else entry for entry in self.state.entries)
        self.state = self.state.model_copy(update={"entries": entries})
        self.save()

    def result_path(self, conc: int) -> Path:
        """The result file of a CONC."""
        named = self.state.settings.result_filename
        name = named.removesuffix(".json") if named else f"result_isl{self.state.isl}_osl{self.state.osl}_conc{conc}"
        return self.folder / f"{name}.json"

    def attempt(self, kind: str) -> Path:
        """A folder name that is not taken yet, for what one attempt leaves."""
        number = 1
        while (self.folder / f"{kind}-{number}").exists():
            number += 1
        return self.folder / f"{kind}-{number}"
