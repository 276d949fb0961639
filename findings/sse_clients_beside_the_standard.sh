#!/usr/bin/env bash
# httpx-sse and sseclient-py: of one valid event stream they make other events than the HTML standard says.
#
# Guess, written down before (2026-11-30): both dispatch what the standard dispatches; they differ in how they name a missing id.
# Versions: httpx-sse 0.4.3, httpx 0.28.1, sseclient-py 1.9.0, CPython 3.11.7, Linux.
# Behaviour: sseclient-py dispatches what was in hand when the stream ended: of an answer cut off inside a chunk half a JSON text
#   arrives as an event. httpx-sse dispatches an event that has a type and no data, which is to be dropped. Both lose the first event
#   behind a byte order mark, which is to be skipped. Line ends and comments are right in both.
# Output seen (2026-11-30): "cut off inside an event: ['1']; sseclient-py ['1', '{"cho']",
#   "an event without data: ['1']; httpx-sse ['', '1']", "a byte order mark: ['1', '2']; httpx-sse ['2']; sseclient-py ['2']"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check httpx-sse==0.4.3 httpx==0.28.1 sseclient-py==1.9.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import httpx
import httpx_sse
import sseclient

CASES = {  # name: the stream, and the data of the events that the standard dispatches
    "cut off inside an event": (b"data: 1\n\ndata: {\"cho", ["1"]),
    "an event without data": (b"event: ping\n\ndata: 1\n\n", ["1"]),
    "a byte order mark": (b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", ["1", "2"]),
    "carriage returns": (b"data: 1\r\rdata: 2\r\r", ["1", "2"]),
    "a comment between": (b"data: 1\n\n: alive\n\ndata: 2\n\n", ["1", "2"]),
}


def by_httpx_sse(stream):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream))
    with httpx.Client(transport=transport) as client, httpx_sse.connect_sse(client, "GET", "http://localhost/") as source:
        return [event.data for event in source.iter_sse()]


def by_sseclient(stream):
    return [event.data for event in sseclient.SSEClient([stream]).events()]


found = {}
for name, (stream, standard) in CASES.items():
    events = {"httpx-sse": by_httpx_sse(stream), "sseclient-py": by_sseclient(stream)}
    found[name] = {library: data for library, data in events.items() if data != standard}
    print(f"{name}: {standard}", *(f"{library} {data}" for library, data in found[name].items()), sep="; ")
if found != {"cut off inside an event": {"sseclient-py": ["1", "{\"cho"]}, "an event without data": {"httpx-sse": ["", "1"]},
             "a byte order mark": {"httpx-sse": ["2"], "sseclient-py": ["2"]}, "carriage returns": {}, "a comment between": {}}:
    sys.exit("changed: what the two make of these streams")
PYTHON
