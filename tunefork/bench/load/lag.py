"""What a client on an event loop takes itself: its share of one core, and how late the loop serves what is due."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any

import numpy as np

EVERY_S = 0.02
LEAST_SAMPLES = 100
"""Of fewer, the 99th percentile is the worst one, and one hiccup of the machine is not the client."""


class Lag:
    """Samples while the ``async with`` lasts: a sleep that should end now, and when it did."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self.seconds = self.cpu_s = 0.0

    async def __aenter__(self) -> Lag:
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._task.cancel()
        self.seconds, self.cpu_s = time.perf_counter() - self._began, time.process_time() - self._cpu

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            self.lags_s.append(loop.time() - due)

    def words(self) -> dict[str, Any]:
        """``client_cpu_share`` (of one core) and, of a load of 2 s and more, ``client_lag_p99_ms``, for the client's answer."""
        share = {"client_cpu_share": self.cpu_s / self.seconds if self.seconds else 0.0}
        if len(self.lags_s) < LEAST_SAMPLES:
            return share
        return {**share, "client_lag_p99_ms": float(np.percentile(self.lags_s, 99)) * 1000}
