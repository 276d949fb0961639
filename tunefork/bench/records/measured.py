"""What a record measured, in a word: which chip, and which variant."""

from __future__ import annotations

from urllib.parse import urlsplit

from tunefork.bench.records.schema import Record

LOCAL = ("127.0.0.1", "localhost", "::1")


def chip(record: Record) -> str:
    """The chip that was measured, by name; where only the machine is known, or not even that, it says so."""
    place = urlsplit(record.server.base_url).hostname or record.server.base_url
    if not record.server.own and place not in LOCAL:
        return f"unknown chip of {place}"
    if record.server.target == "cpu" or not record.host.gpus:
        return f"CPU {record.host.cpu}"
    kinds = " or ".join(dict.fromkeys(record.host.gpus))
    return kinds if record.server.target != "unknown" else f"{kinds} (of the machine; the server's target is unknown)"


def variant(record: Record) -> str:
    """The variant of vLLM, or the arm that was somebody else's server."""
    if record.vllm:
        return record.vllm.variant + ("+edits" if record.vllm.modified else "")
    arm = record.labels.get("arm")
    return record.labels.get(arm.lower(), arm) if arm else record.server.base_url
