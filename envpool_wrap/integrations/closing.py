"""Pools that are made here end when what is put around them cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def closed_on_error(pool: Any) -> Iterator[None]:
    """Close the pool, if there is one, when what is below raises."""
    try:
        yield
    except BaseException:
        if pool is not None:
            pool.close()
        raise
