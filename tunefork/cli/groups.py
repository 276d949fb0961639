"""The groups of commands; what each holds is in registry.py."""

from __future__ import annotations

import click

from tunefork.cli.registry import Commands


@click.group(cls=Commands)
def bench() -> None:
    """Measure, compare and submit; every measurement leaves a record in work/records/."""


@click.group(cls=Commands)
def kernels() -> None:
    """Own kernels: list them, prove their gfx950 code without a GPU, tune them."""


@click.group(cls=Commands)
def patch() -> None:
    """Author patches: make, change and reshape them, export commits to files, take edited files into the lock.

    docs/patch-authors.md is the guide.
    """


@click.group(cls=Commands)
def variants() -> None:
    """Compare variants: base, all, only:P, without:P, upto:P."""


@click.group(cls=Commands)
def checkpoint() -> None:
    """Checkpoints on this disk, before any server."""


@click.group(cls=Commands)
def campaign() -> None:
    """A GPU day: hours on a machine become a decided series. docs/gpu-day.md is the page for the evening before."""
