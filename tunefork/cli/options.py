"""The options and arguments that several commands take: one declaration each. A command says only what is its own: the help, a default.

    @options.as_json("Print the findings as JSON.")
    @options.profile()
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
TPS = ("8", "4", "2", "1")


def as_json(text: str = "Print the result as JSON.") -> Decorator:
    return click.option("--json", "as_json", is_flag=True, help=text)


def dry_run(text: str = "Change nothing; say what would change.") -> Decorator:
    return click.option("--dry-run", is_flag=True, help=text)


def go_on(text: str) -> Decorator:
    """--continue: `continue` is a keyword of Python."""
    return click.option("--continue", "go_on", is_flag=True, help=text)


def abort(text: str) -> Decorator:
    return click.option("--abort", is_flag=True, help=text)


def upstreams() -> Decorator:
    return click.argument("upstreams", nargs=-1, metavar="[UPSTREAM]...")


def upstream(text: str = "The upstream, where the patch's name does not tell.", **own: Any) -> Decorator:
    return click.option("--upstream", metavar="NAME", help=text, **own)


def variant(text: str = "Which patches; default: those that work/vllm holds.", name: str = "variant", **own: Any) -> Decorator:
    return click.option("--variant", name, metavar="V", help=text, **own)


def profile(text: str = "Profile, by name or as a TOML file.", name: str = "profile") -> Decorator:
    return click.option("--profile", name, default="smoke", show_default=True, metavar="P", help=text)


def isl(text: str, **own: Any) -> Decorator:
    """``-isl`` is the competition's guide's own spelling."""
    return click.option("--isl", "-isl", type=int, help=text, **own)


def osl(text: str, **own: Any) -> Decorator:
    return click.option("--osl", "-osl", type=int, help=text, **own)


def server_log(**more: Any) -> Decorator:
    return click.option("--server-log", metavar="FILE", help="The server's log; default: a new file in work/logs/serve.", **more)


def all_or_nothing(text: str) -> Decorator:
    return click.option("--all-or-nothing", is_flag=True, help=text)


if TYPE_CHECKING:
    Several = click.ParamType[tuple[int, ...]]
else:
    Several = click.ParamType  # generic in newer releases of click only


class Concurrencies(Several):
    """``4`` or ``4,8``: whole numbers, as a tuple."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers: --conc 4,8", param, ctx)


def conc(text: str) -> Decorator:
    """``--conc 4,8`` and ``--conc 4 --conc 8`` are the same."""
    return click.option("--conc", type=Concurrencies(), multiple=True, help=text,
                        callback=lambda _ctx, _param, given: tuple(one for several in given for one in several))


def tp() -> Decorator:
    return click.option("--tp", type=int, help="Tensor-parallel size, instead of the profile's.")


def tps(text: str = "Tensor-parallel sizes.", **own: Any) -> Decorator:
    return click.option("--tp", "tps", type=click.Choice(TPS), multiple=True, help=text, **own)


def model(text: str = "Other weights than the profile's.") -> Decorator:
    return click.option("--model", metavar="ID|PATH", help=text)


def port(text: str = "Default: the profile's; 0: any free one.", **own: Any) -> Decorator:
    return click.option("--port", type=click.IntRange(0, 65535), help=text, **own)


def ready_timeout() -> Decorator:
    return click.option("--ready-timeout", "ready_timeout_s", type=click.FloatRange(min=1), metavar="SECONDS", help="Default: the profile's.")


def client_timeout(text: str) -> Decorator:
    return click.option("--client-timeout", "client_timeout_s", type=float, metavar="SECONDS", help=text)


def gpus(text: str) -> Decorator:
    """How many GPUs a server that we did not start uses."""
    return click.option("--gpus", type=int, help=text)


def vllm_arguments() -> Decorator:
    return click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[-- VLLM_ARGUMENT...]")


def out_folder(text: str) -> Decorator:
    return click.option("--out", type=click.Path(path_type=Path, file_okay=False), help=text)


def team(text: str | None = None, **own: Any) -> Decorator:
    return click.option("--team", metavar="NAME", help=text, **own)


def yes(text: str) -> Decorator:
    return click.option("--yes", is_flag=True, help=text)


def no_baseline(text: str) -> Decorator:
    return click.option("--no-baseline", is_flag=True, help=text)


def leaderboard(text: str, **own: Any) -> Decorator:
    return click.option("--url", metavar="URL", help=text, **own)


def only_kernels() -> Decorator:
    return click.option("--only", help="Only kernels whose name, configuration or shape contains this.")


def workers(text: str = "Processes (default: one per core).") -> Decorator:
    return click.option("--workers", type=click.IntRange(min=1), help=text)
