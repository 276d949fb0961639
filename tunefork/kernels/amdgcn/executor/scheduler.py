"""Runs the resident waves: batches advance in lockstep, split where a branch divides them, wait at barriers, join where they meet.

Of several batches the one furthest behind runs first (so that they meet again), with a random one now and then, so that a wave that
polls memory cannot keep the others from writing it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from tunefork.kernels.amdgcn.errors import ExecutionError, NoProgress
from tunefork.kernels.amdgcn.executor.decode import Decoded
from tunefork.kernels.amdgcn.executor.machine.counters import Outstanding
from tunefork.kernels.amdgcn.executor.machine.state import Array, Batch

RANDOM_PICK_EVERY = 16


@dataclass
class Scheduler:
    """The batches of one residency.

    join: whether batches may join again (off, every wave goes its own way in random order).
    most_steps: instructions that a residency may take before it counts as endless.
    executed: wave instructions by place in the program.
    """

    decoded: list[Decoded]
    leaders: frozenset[int]
    random: random.Random
    live: np.ndarray[tuple[int], np.dtype[np.int64]]
    join: bool = True
    most_steps: int = 5_000_000
    steps: int = 0
    executed: list[int] = field(default_factory=list)
    running: list[Batch] = field(default_factory=list)
    waiting: list[Batch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executed = [0] * len(self.decoded)

    def run(self) -> None:
        """Run until every wave has ended. Errors: ExecutionError and its kinds."""
        while self.running:
            batch = self.pick()
            self.advance(batch)
            self.release()
        if self.waiting:
            place = self.decoded[self.waiting[0].pc - 1].instruction.where
            raise NoProgress("waves wait at a barrier that the rest of their work-group never reaches", place)

    def pick(self) -> Batch:
        """Take the next batch to run off the list, joined with those that stand at the same place."""
        if len(self.running) == 1:
            return self.running.pop()
        if not self.join or self.random.randrange(RANDOM_PICK_EVERY) == 0:
            return self.running.pop(self.random.randrange(len(self.running)))
        self.running.sort(key=lambda batch: batch.pc)
        first, alike = self.running[0], 1
        while alike < len(self.running) and first.matches(self.running[alike]):
            alike += 1
        together, self.running = self.running[:alike], self.running[alike:]
        return together[0].joined(together[1:]) if alike > 1 else first

    def advance(self, batch: Batch) -> None:
        """Run one batch until it ends, waits, splits, or reaches a place where others could join it."""
        decoded, alone, start, leaders = self.decoded, not self.running, batch.pc, self.leaders
        executed, waves, counters = self.executed, batch.waves, batch.counters
        while True:
            at = batch.pc
            current = decoded[at]
            executed[at] += waves
            self.steps += 1
            if current.role == "step":
                if (counters.vector or counters.lgkm) and (
                    not counters.guarded_vector.isdisjoint(current.vector_guard)
                    or not counters.guarded_lgkm.isdisjoint(current.lgkm_guard)
                ):
                    current.check(batch)
                try:
                    current.step(batch)
                except ExecutionError as error:
                    if error.where:
                        raise
                    raise type(error)(error.message, current.instruction.where) from None
                batch.pc = at + 1
            elif current.role == "branch":
                if not self.branch(batch, current):
                    return
            else:
                batch.pc += 1
                self.stop(batch, current)
                return
            if not alone and batch.pc in leaders and batch.pc != start:
                self.running.append(batch)
                return
            if self.steps > self.most_steps:
                raise NoProgress(f"still running after {self.steps} steps", current.instruction.where)

    def branch(self, batch: Batch, current: Decoded) -> bool:
        """Follow a branch; False where the batch was split and put back."""
        if current.condition is None:
            batch.pc = current.target
            return True
        taken = current.condition(batch)
        if taken.all():
            batch.pc = current.target
        elif not taken.any():
            batch.pc += 1
        else:
            jumping, staying = batch.select(np.nonzero(taken)[0]), batch.select(np.nonzero(~taken)[0])
            jumping.pc, staying.pc = current.target, batch.pc + 1
            self.running += [jumping, staying]
            return False
        return True

    def stop(self, batch: Batch, current: Decoded) -> None:
        """A batch ends, or waits at a barrier."""
        if current.role == "barrier":
            self.waiting.append(batch)
        else:
            np.subtract.at(self.live, batch.group, 1)

    def release(self) -> None:
        """Let the work-groups go on whose live waves all wait at a barrier."""
        if not self.waiting:
            return
        arrived = np.zeros_like(self.live)
        for batch in self.waiting:
            np.add.at(arrived, batch.group, 1)
        complete = (arrived == self.live) & (arrived > 0)
        if not complete.any():
            return
        everyone = bool((complete | (self.live == 0)).all())
        batches, self.waiting = self.waiting, []
        freed = []
        for batch in batches:
            go = complete[batch.group]
            if go.all():
                freed.append(batch)
            elif not go.any():
                self.waiting.append(batch)
            else:
                freed.append(batch.select(np.nonzero(go)[0]))
                self.waiting.append(batch.select(np.nonzero(~go)[0]))
        self.pass_barrier(freed, np.nonzero(complete)[0], everyone)

    def pass_barrier(self, batches: list[Batch], groups: Array, everyone: bool) -> None:
        """Order LDS accesses across the barrier, except those that are still outstanding."""
        lds = batches[0].machine.lds
        lds.barrier(groups, everyone=everyone)
        for batch in batches:
            for operation in batch.counters.lgkm:
                self.carry_over(batch, operation)
        self.running += batches

    @staticmethod
    def carry_over(batch: Batch, operation: Outstanding) -> None:
        if operation.access is None:
            return
        if operation.kind == "lds_write":
            batch.machine.lds.mark_write(operation.access)
        elif operation.kind == "lds_read":
            batch.machine.lds.mark_read(operation.access)
