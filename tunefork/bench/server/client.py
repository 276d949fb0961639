"""A small client of the server under test: is it up, what does it serve, what does it answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

from tunefork.base.errors import ServeError
from tunefork.base.upstream_facts.vllm import CACHED_TOKENS, COMPLETIONS, HEALTH, LONGEST, METRICS, MODELS, PREFIX_CACHING


@dataclass(frozen=True)
class Completion:
    """One answer of /v1/completions. logprobs: natural logarithms per token where asked for, None for the very first."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float | None, ...] = ()


class Client:
    """Speaks to one server; ``timeout_s`` bounds one answer."""

    def __init__(self, base_url: str, model: str, timeout_s: float = 120.0) -> None:
        self.base_url, self.model = base_url, model
        # trust_env off: a proxy from the environment must not stand between us and this machine's own server.
        self._http = httpx.Client(base_url=base_url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def healthy(self, timeout_s: float = 2.0) -> bool:
        """Whether GET /health answers 200; a refused connection or silence is a no."""
        try:
            return self._http.get(HEALTH, timeout=timeout_s).status_code == 200
        except httpx.HTTPError:
            return False

    def models(self) -> dict[str, int | None]:
        """Names of the served models, each with the most tokens of a request where the server says so."""
        answer = self._json("GET", MODELS)
        try:
            longest = {str(entry["id"]): entry.get(LONGEST) for entry in answer["data"]}
            return {name: most if isinstance(most, int) else None for name, most in longest.items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise ServeError(f"{self.base_url}{MODELS}: no list of models ({error!r}): {str(answer)[:200]}", "is it a vLLM server?") from None

    def prefix_cache(self) -> bool | None:
        """Whether the server says in its metrics that it caches prefixes of prompts; None where it says nothing of it."""
        try:
            answer = self._http.get(METRICS, timeout=5.0)
        except httpx.HTTPError:
            return None
        if answer.status_code != 200:
            return None
        said = re.findall(PREFIX_CACHING, answer.text, re.MULTILINE)
        if said:
            return "True" in said
        hits = [float(value) for value in re.findall(CACHED_TOKENS, answer.text, re.MULTILINE)]
        return True if any(hits) else None

    def complete(
        self, prompt: str, max_tokens: int = 16, *, temperature: float = 0.0, echo: bool = False, logprobs: bool = False
    ) -> Completion:
        """One completion; ``echo`` with ``logprobs`` scores the prompt itself."""
        body: dict[str, Any] = {"model": self.model, "prompt": prompt, "max_tokens": max_tokens, "temperature": temperature}
        if echo:
            body["echo"] = True
        if logprobs:
            body["logprobs"] = 1
        answer = self._json("POST", COMPLETIONS, body)
        try:
            choice, usage = answer["choices"][0], answer["usage"]
            scored = choice.get("logprobs") or {}
            return Completion(
                text=choice["text"],
                prompt_tokens=usage["prompt_tokens"],
                completion_tokens=usage["completion_tokens"],
                finish_reason=choice["finish_reason"] or "",
                tokens=tuple(scored.get("tokens") or ()),
                logprobs=tuple(scored.get("token_logprobs") or ()),
            )
        except (KeyError, IndexError, TypeError) as error:
            raise ServeError(f"{self.base_url}{COMPLETIONS}: not a completion ({error!r}): {str(answer)[:200]}",
                             "look at the server's log") from None

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        try:
            response = self._http.request(method, path, json=body)
            response.raise_for_status()
            return response.json()
        except httpx.HTTPStatusError as error:
            raise ServeError(f"{self.base_url}{path} answered {error.response.status_code}: "
                             f"{error.response.text[:300]}", "look at the server's log") from None
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise ServeError(f"{self.base_url}{path}: {type(error).__name__}: {error}",
                             "is the server still up? look at its log") from None
