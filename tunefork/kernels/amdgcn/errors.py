"""What can go wrong between a Triton kernel and its verified gfx950 code; each error says where and what to do."""

from __future__ import annotations


class Gfx950Error(Exception):
    """Root of this room's errors: one clear line, and a remedy where there is one."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class CompileFailed(Gfx950Error):
    """Triton could not compile a kernel for gfx950."""


class BadAssembly(Gfx950Error):
    """The text is not what Triton's AMD backend prints for one gfx950 kernel."""


class BadBudget(Gfx950Error):
    """The budget file names a fact that does not exist or a limit that is not a number."""


class ExecutionError(Gfx950Error):
    """The machine code did something that it must not do; ``where`` is the instruction and its source line."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class UnknownInstruction(ExecutionError):
    """The executor has no meaning for this mnemonic, operand or modifier."""


class OutOfBounds(ExecutionError):
    """An access outside every registered buffer, or outside the work-group's LDS."""


class MissingWait(ExecutionError):
    """A register or LDS byte is used while the load that fills it is outstanding."""


class LdsRace(ExecutionError):
    """Two waves of a work-group touch the same LDS bytes without a barrier between them, and one of them writes."""


class NoProgress(ExecutionError):
    """Waves wait at a barrier that others never reach, or a loop does not end."""
