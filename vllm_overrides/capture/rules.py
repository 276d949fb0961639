"""What the pinned vLLM makes of capture sizes. File names below are of its source.

A size counts rows (tokens of a step), not requests: a decode step of n requests has n * (1 + speculative tokens) rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunefork.base.upstream_facts.vllm import LARGEST_CAPTURE, MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS, RELEASE
from vllm_overrides.errors import OverrideError


@dataclass(frozen=True)
class Limits:
    """What bounds the rows of a step. The defaults are those of an API server on a GPU with 160 GiB or more."""

    max_num_seqs: int = MAX_NUM_SEQS
    max_num_batched_tokens: int = MAX_NUM_BATCHED_TOKENS
    num_speculative_tokens: int = 0

    def __post_init__(self) -> None:
        if self.max_num_seqs < 1 or self.max_num_batched_tokens < self.query_len or self.num_speculative_tokens < 0:
            raise OverrideError(
                f"no step fits max_num_seqs={self.max_num_seqs}, max_num_batched_tokens={self.max_num_batched_tokens}, "
                f"num_speculative_tokens={self.num_speculative_tokens}",
                "at least one request, and tokens for one whole step of it",
            )

    @property
    def query_len(self) -> int:
        """Rows that one request has in a decode step."""
        return 1 + self.num_speculative_tokens

    def rounded(self, rows: int) -> int:
        """``rows`` up to whole requests: a decode graph holds nothing else."""
        return -(-rows // self.query_len) * self.query_len

    @property
    def decode_rows(self) -> int:
        """Rows of the widest decode step; no FULL graph of a decode step is wider."""
        whole = self.max_num_batched_tokens // self.query_len * self.query_len
        return min(self.max_num_seqs * self.query_len, whole)


@dataclass(frozen=True)
class Settled:
    """A list of sizes as the server will have it.

    piecewise: sizes of the graphs for mixed steps, ascending.  full: sizes of the graphs for decode steps, ascending.
    notes: one line per size, or kind of size, that vLLM drops or does not use as given.
    """

    piecewise: tuple[int, ...]
    full: tuple[int, ...]
    notes: tuple[str, ...]

    def padded(self, rows: int) -> int | None:
        """The size at which a decode step of ``rows`` runs; None where it runs outside CUDA graphs.

        Both model runners look for a FULL graph first and for a PIECEWISE one after that (v1/cudagraph_dispatcher.py,
        v1/worker/gpu/cudagraph_utils.py).
        """
        return above(self.full, rows) or above(self.piecewise, rows)

    def mixed(self, rows: int) -> int | None:
        """The size at which a step of ``rows`` with prefill in it runs (PIECEWISE); None where it runs outside CUDA graphs.

        The V2 runner's answer; V1 rounds these sizes up to whole requests too when it speculates.
        """
        return above(self.piecewise, rows)

    def is_full(self, rows: int) -> bool:
        """Whether a decode step of ``rows`` runs in a FULL graph."""
        return above(self.full, rows) is not None


def above(sizes: Sequence[int], rows: int) -> int | None:
    """The smallest size that holds ``rows``."""
    at = bisect_left(sizes, rows)
    return sizes[at] if at < len(sizes) else None


def settle(sizes: Iterable[int], limits: Limits, *, maximum: int | None = None) -> Settled:
    """What becomes of ``cudagraph_capture_sizes`` under FULL_AND_PIECEWISE (config/vllm.py, ``_set_cudagraph_sizes``).

    maximum: ``max_cudagraph_capture_size`` if it is given too.

    Raises:
        OverrideError: sizes that vLLM rejects: none, none left, less than 1, or a maximum that is not the largest.
    """
    given = sorted(set(sizes))
    if not given or given[0] < 1:
        raise OverrideError(f"cudagraph_capture_sizes must be positive, and there must be some; got {given[:3]}", "sizes of 1 or more")
    notes = []
    kept = [size for size in given if size <= limits.max_num_batched_tokens]
    if len(kept) < len(given):
        notes.append(f"dropped: {given[len(kept):]} exceed max_num_batched_tokens={limits.max_num_batched_tokens}")
    if not kept:
        raise OverrideError(f"vLLM {RELEASE} drops every size of {given}: {'; '.join(notes)}", "smaller sizes, or raise max_num_batched_tokens")
    if maximum is not None and maximum != kept[-1]:
        raise OverrideError(
            f"vLLM {RELEASE} rejects max_cudagraph_capture_size={maximum} beside sizes that end at {kept[-1]}",
            f"max_cudagraph_capture_size={kept[-1]}, or leave it out",
        )
    return Settled(tuple(kept), *decode_graphs(kept, limits, notes))


def decode_graphs(kept: Sequence[int], limits: Limits, notes: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The sizes of the FULL graphs: rounded up to whole requests, within the list's maximum and the widest decode step."""
    query, found = limits.query_len, list(notes)
    rounded = sorted({limits.rounded(size) for size in kept})
    full = tuple(size for size in rounded if size <= min(kept[-1], limits.max_num_seqs * query))
    if query > 1 and any(size % query for size in kept if size <= limits.decode_rows):
        found.append(f"rounded: decode graphs hold whole requests of {query} rows (1 + {limits.num_speculative_tokens} speculative tokens)")
    unused = [size for size in kept if size > limits.decode_rows]
    if unused:
        found.append(f"PIECEWISE only: {len(unused)} sizes from {unused[0]} exceed the widest decode step, {limits.decode_rows} rows")
    return full, tuple(found)


def check_compile_sizes(compile_sizes: Iterable[int], settled: Settled) -> None:
    """Refuse a compile size that no step can have: vLLM's V1 runner stops at it once the model is loaded, V2 compiles it unused."""
    for size in compile_sizes:
        padded = settled.mixed(size)
        if padded is not None and padded != size:
            raise OverrideError(
                f"compile_sizes holds {size}, which is padded to {padded}", f"capture {size} too, or compile {padded} instead"
            )


def default_sizes(limits: Limits, *, maximum: int = LARGEST_CAPTURE, interactivity: bool = False) -> list[int]:
    """The list that vLLM captures for GPT-OSS where the user sets nothing; ``interactivity`` is its ``--performance-mode``."""
    top = min(maximum, limits.max_num_batched_tokens)
    sizes = set(range(1, min(top, 32) + 1)) if interactivity else {size for size in (1, 2, 4) if size <= top}
    sizes |= set(range(8, min(top + 1, 256), 8)) | set(range(256, top + 1, 16))
    if limits.max_num_batched_tokens <= top:
        sizes.add(limits.max_num_batched_tokens)
    return sorted(sizes)


def guide_sizes() -> list[int]:
    """The list of the competition's quick-start guide: 1, 2, 4, ... 128, 136, ... 1024, 2048, 4096, 8192 (180 sizes)."""
    return [1, *range(2, 129, 2), *range(136, 1025, 8), 2048, 4096, 8192]
