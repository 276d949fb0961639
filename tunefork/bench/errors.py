"""What a measurement can end in besides success; each kind has its own exit code (docs/commands.md)."""

from __future__ import annotations

from tunefork.base.errors import TuneforkError


class AccuracyMissed(TuneforkError):
    """The accuracy was measured and is outside the gate; nothing was timed."""

    code = 10


class AccuracyUnknown(TuneforkError):
    """The accuracy could not be measured: lm_eval failed, or its answer is missing, not a number, or of part of the task."""

    code = 11


class ConfigurationsFailed(TuneforkError):
    """Some configurations of a run failed; the others are good."""

    code = 12


class NothingMeasured(TuneforkError):
    """Every configuration of a run failed."""

    code = 13


class SubmitRefused(TuneforkError):
    """A result may not be submitted as it is; nothing was sent."""

    code = 14


class SubmitFailed(TuneforkError):
    """The leaderboard did not take the result."""

    code = 15


class SubmitUnknown(TuneforkError):
    """The result was sent and it is not known whether the leaderboard took it."""

    code = 16


class RecordError(TuneforkError):
    """A record is damaged, or cannot be written."""

    code = 17
