"""What a client on an event loop takes itself: its share of one core, and how late the loop serves what is due."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from tunefork.bench.load.probe import sample

LEAST_SAMPLES = 100
"""Of fewer, the 99th percentile is the worst one, and one hiccup of the machine is not the client."""


class Lag:
    """Samples while the ``async with`` lasts: a sleep that should end now, and when it did."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self.seconds = self.cpu_s = 0.0

    async def __aenter__(self) -> Lag:
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._task = asyncio.create_task(sample(self.samples))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._task.cancel()
        self.seconds, self.cpu_s = time.perf_counter() - self._began, time.process_time() - self._cpu

    def words(self) -> dict[str, Any]:
        """``client_cpu_share`` (of one core) and, of a load of 2 s and more, ``client_lag_p99_ms``, for the client's answer."""
        return {"client_cpu_share": self.cpu_s / self.seconds if self.seconds else 0.0, **late([lag for _, lag in self.samples])}


def late(lags_s: Sequence[float]) -> dict[str, float]:
    """``client_lag_p99_ms``; nothing where there are too few samples."""
    return {"client_lag_p99_ms": statistics.quantiles(lags_s, n=100, method="inclusive")[98] * 1000} if len(lags_s) >= LEAST_SAMPLES else {}
