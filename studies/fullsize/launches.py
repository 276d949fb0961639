"""Which kernels a decode step of vLLM launches, how long each takes and where nothing runs: counted by torch's profiler in CUDA graphs.

    python -m studies.fullsize.launches --model l4 --moe shipped --out rows.jsonl     one row; also ours, step
    python -m studies.fullsize.launches --table rows.jsonl                            launches of a layer, as Markdown

Four layers suffice: what a step launches once (sampling, the head) has another count than what each layer launches. The server's process is this one,
so the profiler sees it; a kernel's time includes what it waits for where launches overlap.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.fullsize.engine import OVERRIDES, prompts, started

STEPS = 32


def collect(model: Path, moe: str, tokens: int) -> dict[str, Any]:
    """Kernels of ``STEPS`` decode steps of ``tokens`` rows: (name, begin, end) in microseconds, in their order; and the model's layers."""
    llm, asked = started(model, moe, max_model_len=2048, max_num_seqs=tokens, cudagraph_capture_sizes=[tokens]), prompts(tokens, 1024)
    import torch
    from torch.autograd import DeviceType
    from vllm import SamplingParams  # once the variables are set

    greedy = SamplingParams(temperature=0, max_tokens=STEPS + 1, ignore_eos=True)
    llm.generate(asked, greedy, use_tqdm=False)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        llm.generate(asked, greedy, use_tqdm=False)
    found = sorted((one.time_range.start, one.time_range.end, one.name) for one in profile.events() if one.device_type == DeviceType.CUDA)
    layers = json.loads((model / "config.json").read_text())["num_hidden_layers"]
    return {"moe": moe, "tokens": tokens, "layers": layers, "versions": {"torch": torch.__version__}, **packed(decode([(n, b, e) for b, e, n in found]))}


def decode(kernels: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Without copies, and without what a prefill launches: a decode step's kernels come at least once a step."""
    counts = Counter(name for name, _, _ in kernels)
    return [(name, begin, end) for name, begin, end in kernels if counts[name] >= STEPS and not name.startswith(("Memcpy", "Memset"))]


def packed(kernels: Sequence[tuple[str, float, float]]) -> dict[str, Any]:
    """names, and kernels as [index of the name, begin after the first, end] in microseconds."""
    names = list(dict.fromkeys(name for name, _, _ in kernels))
    first = kernels[0][1] if kernels else 0.0
    return {"names": names, "kernels": [[names.index(name), round(begin - first, 1), round(end - first, 1)] for name, begin, end in kernels]}


def per_layer(row: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(kernel, launches of it in a layer, median microseconds of one), largest share first.

    What comes in fewer than all layers but one is a step's own; the first layer's norm and rotary embedding have kernels of their own.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for index, begin, end in row["kernels"]:
        times[row["names"][index]].append(end - begin)
    share = [(name, len(own) / STEPS / row["layers"], sorted(own)[len(own) // 2]) for name, own in times.items()]
    return sorted((one for one in share if one[1] >= (row["layers"] - 1) / row["layers"]), key=lambda one: -one[1] * one[2])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: per row its launches a layer, and each kernel's part."""
    lines = ["| arm | tokens | kernel | launches a layer | median us of one |", "|---|---|---|---|---|"]
    for row in rows:
        own = per_layer(row)
        count, time = sum(count for _, count, _ in own), sum(count * us for _, count, us in own)
        lines.append(f"| {row['moe']} | {row['tokens']} | **all** | **{count:.2f}** | {time:.1f} a layer |")
        lines += [f"| | | `{name[:60]}` | {count:.2f} | {us:.1f} |" for name, count, us in own]
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--moe", choices=sorted(OVERRIDES))
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    words = parser.parse_args()
    if words.table:
        print(table([json.loads(line) for line in words.table.read_text().splitlines()]))
        return
    found = collect(words.model, words.moe, words.tokens)
    with words.out.open("a") as sink:
        sink.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
