"""`checkpoint check`: an MXFP4 checkpoint, before any server."""

from __future__ import annotations

from pathlib import Path

import click

from tunefork.cli import extras, options
from tunefork.cli.output import echo, print_json, say

SHOWN = 20  # faults; --json has all


@click.command(epilog="Exit codes: 0 nothing wrong (warnings may be), 1 errors were found, 2 no MXFP4 checkpoint of GPT-OSS there.")
@click.argument("path", metavar="PATH|REPO")
@click.option("--quick", is_flag=True, help="Headers and samples alone, as `serve` and `bench run` do.")
@options.as_json("Print the report as JSON: every fault with what vLLM and our kernel make of it.")
def check(path: str, quick: bool, as_json: bool) -> int:
    """Check a GPT-OSS checkpoint in MXFP4: is it whole, in which layout, and what do its bytes say.

    PATH is a folder, a .safetensors or a .gguf file: OpenAI's blocks and scales, F4 with F8_E8M0, exports of compressed-tensors and
    amd-quark, GGUF. Every byte of the experts is read once, a piece at a time. The order of elements, and gates beside ups, are told from
    statistics; where these say nothing, nothing is claimed.

    REPO is OWNER/NAME or OWNER/NAME@REVISION on a hub, where no such path is here: huggingface_hub's cache has it, or it is fetched.

    \b
    python3 build.py checkpoint check ~/models/gpt-oss-120b           every byte
    python3 build.py checkpoint check ~/models/gpt-oss-120b --quick   seconds
    python3 build.py checkpoint check openai/gpt-oss-120b             from huggingface_hub's cache, or fetched into it
    """
    extras.require("checkpoint")
    from tunefork.bench.checkpoint import hub
    from tunefork.bench.checkpoint.check import check as run

    report = run(hub.folder(path, say) if hub.names(path) else Path(path), quick=quick, say=say)
    if as_json:
        print_json({"path": report.path, "quick": report.quick, "files": report.files, "layouts": report.layouts, "read_bytes": report.read_bytes,
                    "blocks": report.blocks, "empty_blocks": report.empty, "scale_bytes": [report.scale_low, report.scale_high],
                    "element_order": report.order, "row_order": report.rows, "ok": not report.errors,
                    "faults": [fault.as_dict() for fault in report.faults]})  # fmt: skip
        return 1 if report.errors else 0
    layouts = ", ".join(f"{count} {name}" for name, count in report.layouts.items()) or "none readable"
    echo(f"{report.path}: {report.files} files; projections: {layouts}; {report.read_bytes / 2**30:.2f} GiB of blocks read")
    echo(f"  scale bytes {report.scale_low} to {report.scale_high}; empty blocks {report.empty} of {report.blocks}")
    echo(f"  order of elements: {report.order or 'the bytes do not tell'}; gate and up: {report.rows or 'the bytes do not tell'}")
    for fault in report.faults[:SHOWN]:
        about = fault.as_dict()
        echo(f"{about['level']}: {fault.kind}: {fault.where}: {fault.message}")
        echo(f"  vLLM {about['vllm']}; our kernel {about['kernel']}")
    if len(report.faults) > SHOWN:
        echo(f"and {len(report.faults) - SHOWN} more; --json has all")
    return 1 if report.errors else 0
