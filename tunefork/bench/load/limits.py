"""What the machine must allow before a load begins."""

from __future__ import annotations

import resource

from tunefork.base.errors import MissingTool

OWN_FILES = 128
"""Files that a client has open beside its connections: libraries, logs, pipes."""


def files(conc: int) -> None:
    """Raise this process's soft limit of open files as far as CONC connections need it. MissingTool where the hard limit forbids that."""
    needed = conc + OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise MissingTool(f"CONC {conc} needs {needed} open files, this shell allows {hard}", f"ulimit -Hn {needed}, as root, then ulimit -n {needed}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
