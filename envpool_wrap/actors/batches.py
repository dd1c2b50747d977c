"""A batch that answers of several workers fill, and the part of a request that is one worker's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envpool_wrap.actors import rows
from envpool_wrap.actors.rows import Arrays, Element
from envpool_wrap.actors.workers import Worker


class Batch:
    """Arrays of so many rows, and what is in them so far."""

    def __init__(self, leaves: Sequence[Element], size: int) -> None:
        self.arrays = rows.empty(leaves, size)
        self.size, self.filled = size, 0
        self.parts: list[Any] = []  # where they were put
        self.failures: list[tuple[Any, ...]] = []
        self.infos: list[Any] | None = None

    def fill(
        self, at: Any, count: int, arrays: Arrays, failures: Sequence[Any], infos: Sequence[Any] | None
    ) -> None:
        """Put so many rows where `at`, a slice or indices, says."""
        for whole, part in zip(self.arrays, arrays, strict=True):
            if part is not None:
                whole[at] = part
        self.filled += count
        self.parts.append(at)
        if not failures and infos is None:
            return
        places = np.arange(self.size)[at].tolist()
        self.failures += [(env, places[row], *rest) for env, row, *rest in failures]
        if infos is not None:
            self.infos = self.infos or [None] * self.size
            for place, info in zip(places, infos, strict=True):
                self.infos[place] = info

    def taken(self) -> tuple[Any, ...]:
        """As `_core.Pool.recv` gives it."""
        arrays = self.arrays if self.filled == self.size else [array[: self.filled] for array in self.arrays]
        infos = None if self.infos is None else self.infos[: self.filled]
        self.failures.sort(key=lambda failure: failure[1])
        return (*arrays, (self.failures, infos) if self.failures or infos else None)


@dataclass
class Share:
    """The part of a request that is one worker's.

    Attributes:
        local: its envs, counted from its first; None: all, in order.
        at: their places in the request.
    """

    worker: Worker
    local: list[int] | None
    at: Any

    @property
    def places(self) -> Sequence[int]:
        return range(self.at.start, self.at.stop) if isinstance(self.at, slice) else self.at

    @property
    def envs(self) -> list[int]:
        rows = self.worker.rows
        return list(rows) if self.local is None else [rows[one] for one in self.local]

    def of(self, values: Sequence[Any]) -> list[Any]:
        """Those of `values`, one per place of the request, that are this worker's."""
        return [values[place] for place in self.places]
