"""The errors a user can meet, and the exit code each one becomes (docs/commands.md lists them).

A message says what was expected and what came; ``remedy`` says what to type instead.
"""

from __future__ import annotations


class TuneforkError(Exception):
    """Root of every error that Tunefork raises on purpose; anything else is a bug and shows a traceback."""

    code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    @property
    def told(self) -> str:
        """The error and what to type instead, for programs beside the command line: workers, steps of a build, tools."""
        return f"error: {self.message}\n  try: {self.remedy}"


class BadInput(TuneforkError):
    """What the user typed or wrote (an argument, pins.toml, a series, a patch) cannot be understood."""

    code = 2


class WorkAtRisk(TuneforkError):
    """Going on would overwrite work of the user's: uncommitted, untracked or unexported."""

    code = 3


class SourceError(TuneforkError):
    """An upstream's source cannot be had, or is not what the pin says."""

    code = 4


class BuildError(TuneforkError):
    """A step of ``develop`` failed."""

    code = 5


class MissingTool(TuneforkError):
    """This machine lacks something that the command needs."""

    code = 6


class PatchConflict(TuneforkError):
    """A patch does not match the tree it was to be applied to; it is parked."""

    code = 7


class LockMismatch(TuneforkError):
    """A patch, or what it makes of the tree, is not what series.lock records."""

    code = 8


class ServeError(TuneforkError):
    """The server under test did not start, answer or stop as it should."""

    code = 9


def first_line(text: object) -> str:
    """Of what an error or a program says, which may be thousands of lines; "" where it says nothing."""
    return next(iter(str(text).splitlines()), "")
