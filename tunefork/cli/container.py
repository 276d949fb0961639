"""`container`: print or run the ROCm container's command."""

from __future__ import annotations

import os
import shlex

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json
from tunefork.develop.gfx950 import container as containers
from tunefork.patchset.sources import pins


@click.command(context_settings={"ignore_unknown_options": True}, epilog="Exit code 6: with --run, no container engine is installed.")
@click.option("--run", is_flag=True, help="Run it instead of printing it.")
@click.option("--image", envvar="TUNEFORK_IMAGE", help="Another image; `guide` is the guide's, of vLLM 0.10.1. Default: vLLM's own of the pin.")
@click.option("--engine", help="docker or podman; the first that is installed if not given.")
@click.option("--mount", "mounts", multiple=True, metavar="HOST:INSIDE", envvar="TUNEFORK_MOUNTS", help="A further folder (repeatable).")
@options.as_json("Print the argument vector as JSON.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def container(
    run: bool, image: str | None, engine: str | None, mounts: tuple[str, ...], as_json: bool, command: tuple[str, ...]
) -> None:
    """The command of a ROCm container with this project at /workspace, the weights' cache and Tunefork's cache mounted.

    HF_TOKEN is passed by name: its value stays in your environment. TUNEFORK_IMAGE and TUNEFORK_MOUNTS
    (separated by spaces) set the image and further mounts for good.

    \b
    python3 build.py container
    python3 build.py container --run
    python3 build.py container --run --mount /data/models:/models -- python3 build.py develop
    """
    layout = Layout.here()
    name = containers.required_engine(engine) if run else containers.engine(engine) or engine or containers.ENGINES[0]
    image = image or containers.image_of(pins.load(layout)["vllm"].tag)
    chosen = containers.container(layout.root, layout.cache, engine=name, image=image, mounts=mounts, command=command)
    if run:
        os.execvp(chosen.argv[0], chosen.argv)
    if as_json:
        print_json({"engine": chosen.engine, "image": chosen.image, "argv": chosen.argv})
    else:
        echo(shlex.join(chosen.argv))
