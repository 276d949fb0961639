"""The error that stops a server whose overrides cannot be applied as asked."""

from __future__ import annotations


class OverrideError(Exception):
    """An override, its settings or the plan made from them cannot be used; ``remedy`` says what to type instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}\n  try: {remedy}")
        self.message = message
        self.remedy = remedy
