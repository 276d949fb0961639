"""Gradio's two-step HTTP protocol: POST a call, get an event id; GET that event's server-sent events until it is complete.

A call may be sent again only when it surely did not arrive. A stream may be asked for again at any time: that runs nothing.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx

from tunefork.base import jsons
from tunefork.bench.sse import Events

POST_TIMEOUT_S = 30.0
STREAM_TIMEOUT_S = 180.0
RETRIES = 3
BACKOFF_S = 1.0
# The server says itself that it has not taken the call.
NOT_TAKEN = (429, 503)
YES = re.compile(r"✅|\b(success\w*|submitted|accepted|recorded|received|taken|saved|added|thanks?)\b")
NO = re.compile(r"❌|\b(error|failed|failure|fails|invalid|rejected|refused|denied|not|cannot|could ?n.t|unable|unsuccess\w*|missing|wrong|unknown|"
                r"exceed\w*|limit|already|duplicate)\b")
TAKEN = re.compile(r"✅|(?:(?:your |the |all )?(?:results?|submissions?|entry|scores?)\b[\w ]{0,40}?\b)?(?:successfully )?"
                   r"(?:submitted|accepted|recorded|received|taken|saved|added|success\w*)\b")
"""How a yes begins."""
DOUBT = re.compile(r"\b(no|nothing|none|zero|false|without|but|however|except|only|late|after|before|until|deadline|closed|over|expired|draft|disqualif\w*|"
                   r"pending|queue\w*|await\w*|review\w*|ignor\w*|skip\w*|partial\w*|warning|retry|again|will|would|must|should|may|might|if|once|"
                   r"unless|need\w*)\b|(?<![\d.])0(?![\d.])")
"""What makes of a yes, and of a no ("no errors"), something that a person must read."""
EVENT = re.compile(r"[A-Za-z0-9_-]{1,200}")  # it becomes a part of an address
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)


@dataclass(frozen=True)
class Reply:
    """What is known of a call. state: as records.schema.Submission's.  answer: the server's words, or why there are none."""

    state: Literal["complete", "rejected", "unknown", "unsent"]
    answer: str
    event_id: str | None = None


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds. backoff doubles with every try."""

    post_s: float = POST_TIMEOUT_S
    stream_s: float = STREAM_TIMEOUT_S
    retries: int = RETRIES
    backoff_s: float = BACKOFF_S


def call(url: str, name: str, data: Sequence[object], *, accepted: Callable[[str], None], patience: Patience | None = None) -> Reply:
    """Make one call and follow it to its end. accepted: told the event id before anything else happens."""
    limits = patience or Patience()
    with httpx.Client(timeout=limits.post_s, follow_redirects=True) as http:
        sent = post(http, f"{url}/gradio_api/call/{name}", data, limits)
        if isinstance(sent, Reply):
            return sent
        accepted(sent)
        return follow(http, f"{url}/gradio_api/call/{name}/{sent}", sent, limits)


def resume(url: str, name: str, event_id: str, patience: Patience | None = None) -> Reply:
    """Ask again how a call ended."""
    limits = patience or Patience()
    if not EVENT.fullmatch(event_id):
        return Reply("unknown", f"{event_id!r} is no name of an event")
    with httpx.Client(timeout=limits.post_s, follow_redirects=True) as http:
        return follow(http, f"{url}/gradio_api/call/{name}/{event_id}", event_id, limits)


def post(http: httpx.Client, url: str, data: Sequence[object], limits: Patience) -> str | Reply:
    """The event id; or that it was not sent, refused, or that nobody knows."""
    body = json.dumps({"data": list(data)}, allow_nan=False)
    for tried in range(limits.retries):
        if tried:
            time.sleep(limits.backoff_s * 2 ** (tried - 1))
        try:
            answer = http.post(url, content=body, headers={"Content-Type": "application/json"})
        except NOT_SENT as error:
            failed = Reply("unsent", f"{type(error).__name__}: {error}")
            continue
        except httpx.HTTPError as error:
            return Reply("unknown", f"the request went out and no answer came: {type(error).__name__}: {error}")
        if answer.status_code in NOT_TAKEN:
            failed = Reply("unsent", f"the leaderboard is busy: {words(answer)}")
            continue
        return event_id(answer)
    return failed


def event_id(answer: httpx.Response) -> str | Reply:
    """The event id in an answer to the call."""
    if 400 <= answer.status_code < 500:
        return Reply("rejected", words(answer))
    if answer.status_code != 200:
        return Reply("unknown", f"the request went out and the answer was {words(answer)}")
    try:
        found = answer.json()["event_id"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str) or not EVENT.fullmatch(found):
        return Reply("unknown", f"the answer names no event: {words(answer)}")
    return found


def words(answer: httpx.Response) -> str:
    """An answer in one line."""
    return f"HTTP {answer.status_code}: {' '.join(answer.text.split())[:300]}"


def follow(http: httpx.Client, url: str, event: str, limits: Patience) -> Reply:
    """Read the event's stream to `complete` or `error`; a stream that breaks is asked for again."""
    deadline = time.monotonic() + limits.stream_s
    why = "no stream"
    for tried in range(limits.retries):
        if tried:
            time.sleep(min(limits.backoff_s * 2 ** (tried - 1), max(0.0, deadline - time.monotonic())))
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        try:
            with http.stream("GET", url, timeout=httpx.Timeout(limits.post_s, read=remaining)) as stream:
                if stream.status_code != 200:
                    why = f"the event's stream answered HTTP {stream.status_code}"
                    continue
                for kind, data in events(stream, deadline):
                    ended = end(kind, data, event)
                    if ended is not None:
                        return ended
            why = "the event's stream ended before the event did"
        except httpx.HTTPError as error:
            why = f"the event's stream broke: {type(error).__name__}: {error}"
    if time.monotonic() >= deadline:
        why = f"no end within {limits.stream_s:.0f} s ({why})"
    return Reply("unknown", why, event)


def events(stream: httpx.Response, deadline: float) -> Iterator[tuple[str, str]]:
    """(event, data) pairs of a server-sent event stream, heartbeats included; ReadTimeout past the deadline."""
    split = Events()
    for piece in stream.iter_bytes():
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the stream goes on without an end")
        for kind, data in split.feed(piece):
            yield kind, data.decode(errors="replace")


def end(kind: str, data: str, event: str) -> Reply | None:
    """What an event means: the end, or not yet. `complete` is a success only where the application's own words say so."""
    if kind == "error":
        return Reply("rejected", data if data not in ("null", "") else "the leaderboard reported an error without words", event)
    if kind != "complete":
        return None
    try:
        outputs = jsons.loads(data)
    except ValueError:
        outputs = None
    if not isinstance(outputs, list):
        return Reply("unknown", f"complete, with an answer that cannot be understood: {data[:300]}", event)
    return Reply(meaning(outputs), data, event)


def meaning(outputs: list[object]) -> Literal["complete", "rejected", "unknown"]:
    """What an application says in its output: such functions return their complaints as ordinary text.

    A success begins with one and says nothing else that could take it back; only words of refusal make a refusal. Of the rest nobody knows: to
    take a no for a yes is a lost submission, to look at the leaderboard once more is a minute.
    """
    texts = [text.strip().lower() for text in outputs if isinstance(text, str)]
    said = " ".join(texts)
    yes, no, doubt = bool(YES.search(said)), bool(NO.search(said)), bool(DOUBT.search(said))
    if yes and not no and not doubt and any(map(TAKEN.match, texts)):
        return "complete"
    return "rejected" if no and not yes and (not doubt or said.startswith("❌")) else "unknown"
