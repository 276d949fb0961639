"""Every command: its group, its name, where it is, and what `--help` says of it. A command is imported when it is called."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import click

ROOT = "tunefork"  # the group that has no name when typed


@dataclass(frozen=True)
class CommandRow:
    """where: module below tunefork/cli and the command in it."""

    group: str
    name: str
    where: str
    summary: str


TABLE = tuple(CommandRow(*row) for row in (
    (ROOT, "apply", "apply:apply", "fetch the pinned upstreams and apply their patch series"),
    (ROOT, "status", "status:status", "what is applied where, and what work is in progress"),
    (ROOT, "develop", "develop:develop", "build and install the applied trees, editable, for a target"),
    (ROOT, "serve", "serve:serve", "serve a model with the installed, patched vLLM"),
    (ROOT, "plan-sizes", "plan_sizes:plan_sizes", "choose CUDA graph sizes for a workload"),
    (ROOT, "checkpoint", "groups:checkpoint", "check an MXFP4 checkpoint before serving it"),
    (ROOT, "bench", "groups:bench", "measure, compare, query and submit"),
    (ROOT, "campaign", "groups:campaign", "a GPU day: plan it, run it, report it"),
    (ROOT, "variants", "groups:variants", "compare named subsets of a series"),
    (ROOT, "patch", "groups:patch", "author patches: export commits to files, check them"),
    (ROOT, "bisect", "bisect:bisect", "find the patch that breaks or slows something"),
    (ROOT, "upstream", "upstream:upstream", "make a branch and a pull request text of a patch"),
    (ROOT, "backup", "backup:backup", "list, show, restore and prune what --abort, --discard and drop kept"),
    (ROOT, "rebase", "rebase:rebase", "move a series to another pin of its upstream"),
    (ROOT, "kernels", "groups:kernels", "list our kernels; gate their gfx950 code"),
    (ROOT, "test", "test:test", "run the project's tests"),
    (ROOT, "doctor", "doctor:doctor", "check this machine and say what to change"),
    (ROOT, "container", "container:container", "print or run the ROCm container's command"),
    (ROOT, "clean", "clean:clean", "remove builds (never work)"),

    ("bench", "run", "bench.run:run", "measure a profile: accuracy gate, then every configuration"),
    ("bench", "ab", "bench.ab:ab", "decide whether variant B is better than A"),
    ("bench", "profile", "bench.profile:profile", "where the time of a decode step goes"),
    ("bench", "kernels", "bench.kernels:kernels", "the MoE layer against its peers and the floor, on the GPU at hand"),
    ("bench", "report", "bench.report:report", "one HTML file over the records"),
    ("bench", "compare", "bench.report:compare", "two records beside each other"),
    ("bench", "query", "bench.query:query", "SQL over the records"),
    ("bench", "submit", "bench.submit:submit", "send measured results to the leaderboard"),

    ("campaign", "plan", "campaign:plan", "which candidates fit into the hours, in which order, and what each step decides"),
    ("campaign", "run", "campaign:run", "do it: race, combine, confirm, gate; go on after any stop"),
    ("campaign", "status", "campaign:status", "hours used, what was measured, the best so far"),
    ("campaign", "report", "campaign:report", "what to merge, drop, and what it would cost to decide the rest"),

    ("checkpoint", "check", "checkpoint:check", "is an MXFP4 checkpoint whole, in which layout, and what do its bytes say"),

    ("variants", "diff", "variants:diff", "what variant B changes against variant A; no checkout is moved"),
    ("variants", "test", "variants:test", "vLLM's own tests on two variants; only the differences"),

    ("patch", "new", "patch.author:new", "make the checkout's uncommitted changes a new patch"),
    ("patch", "edit", "patch.author:edit", "stop at a patch, in a worktree of its own, and change it there"),
    ("patch", "refresh", "patch.author:refresh", "fold uncommitted changes into the patches that own their lines"),
    ("patch", "reorder", "patch.author:reorder", "move patches within the series"),
    ("patch", "split", "patch.author:split", "move files or hunks of a patch into a new one"),
    ("patch", "squash", "patch.author:squash", "join patches into the first one named, at its place"),
    ("patch", "drop", "patch.author:drop", "take patches out of the series, with their files"),
    ("patch", "rename", "patch.author:rename", "give a patch another name, everywhere it is named"),
    ("patch", "import", "patch.importing:import_patches", "take a folder of patches or a quilt series as a series, on any git base"),
    ("patch", "export", "patch.files:export", "turn the commits on a variant's branch back into patch files"),
    ("patch", "lock", "patch.files:lock", "take patch files edited by hand into series.lock"),
    ("patch", "lint", "patch.files:lint", "check that every patch says what patches/README.md asks, and that it is true"),
    ("patch", "show", "patch.files:show_patch", "a patch: its place, what it touches, and the file itself"),
    ("patch", "log", "patch.files:show_log", "how a patch evolved, with the range-diff of each change"),
    ("patch", "graph", "patch.files:show_graph", "which patch needs which, found by leaving patches out"),

    ("kernels", "list", "kernels.gate:list_kernels", "every shipped kernel, configuration and shape class"),
    ("kernels", "gate", "kernels.gate:gate_kernels", "compile for gfx950, check the budgets, execute on the CPU"),
    ("kernels", "compare", "kernels.compare:compare", "modelled cycles, ours beside AITER's Triton kernel"),
    ("kernels", "ratchet", "kernels.ratchet:ratchet", "what a Triton version makes of our kernels, counted, beside the other versions"),
    ("kernels", "opcodes", "kernels.opcodes:opcodes", "every instruction on an MI355X and in the executor, compared"),
    ("kernels", "tune", "kernels.tune:tune", "choose configurations: measured on the GPUs at hand, or modelled for gfx950"),
))  # fmt: skip


def of(group: str) -> dict[str, CommandRow]:
    """The commands of a group by name, in the order that help lists them."""
    return {row.name: row for row in TABLE if row.group == group}


class Commands(click.Group):
    """A group whose commands are the table's rows of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(of(self.name or ""))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        row = of(self.name or "").get(name)
        if row is None:
            return None
        module, _, attribute = row.where.partition(":")
        found = getattr(importlib.import_module(f"tunefork.cli.{module}"), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.summary) for row in of(self.name or "").values()])
