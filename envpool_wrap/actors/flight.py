"""What is in flight: which envs, and the batches that their rows fill.

A synchronous pool opens a batch with each request, and answers fill its rows, whichever worker is first. An
asynchronous one fills the last batch with answers as they come.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from envpool_protocol.errors import ActionError
from envpool_wrap.actors.batches import Batch
from envpool_wrap.actors.rows import Arrays, Element


class Flight:
    """Of a pool of so many envs.

    Attributes:
        sent: by env, whether it was sent to and its row not received.
        batches: the oldest first.
        leaves: those of a batch.
    """

    def __init__(self, num_envs: int, rows: int) -> None:
        self.sent = np.zeros(num_envs, bool)
        self.batches: deque[Batch] = deque()
        self.leaves: list[Element] = []
        self._rows = rows  # of a full batch
        self._is_async = rows < num_envs

    @property
    def num_envs(self) -> int:
        """How many envs are in flight."""
        return int(np.count_nonzero(self.sent))

    def depart(self, ids: list[int]) -> Batch | None:
        """These were sent to: the batch for their rows, if it is for them alone."""
        self.sent[ids] = True
        if self._is_async:
            return None
        self.batches.append(Batch(self.leaves, len(ids)))
        return self.batches[-1]

    def land(
        self, batch: Batch | None, at: Any, count: int, arrays: Arrays, failures: Any, infos: Any
    ) -> None:
        """So many rows are here: for `at` of their batch, or for whichever has room."""
        if batch is not None:
            batch.fill(at, count, arrays, failures, infos)
            return
        start = 0
        while start < count:
            if not self.batches or self.batches[-1].filled == self.batches[-1].size:
                self.batches.append(Batch(self.leaves, self._rows))
            batch = self.batches[-1]
            stop = min(count, start + batch.size - batch.filled)
            batch.fill(
                slice(batch.filled, batch.filled + stop - start),
                stop - start,
                [array if array is None else array[start:stop] for array in arrays],
                [(env, row - start, *rest) for env, row, *rest in failures if start <= row < stop],
                None if infos is None else infos[start:stop],
            )
            start = stop

    def is_ready(self) -> bool:
        """Whether the first batch is: it is full, or has all that is in flight."""
        return bool(self.batches) and self.batches[0].filled >= min(self.batches[0].size, self.num_envs)

    def check_idle(self, ids: list[int]) -> None:
        """Raise ActionError unless every id is in range, idle, and there once."""
        seen: set[int] = set()
        for env in ids:
            if not 0 <= env < len(self.sent):
                last = len(self.sent) - 1
                raise ActionError(f"env_id {env} is out of range: this pool has envs 0 to {last}")
            if env in seen:
                raise ActionError(f"env_id {env} is there twice; send each env once")
            if self.sent[env]:
                raise ActionError(
                    f"env {env} is still in flight; recv() its result before sending to it again"
                )
            seen.add(env)
