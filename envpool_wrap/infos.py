"""The infos of a batch in Gymnasium's layout: per key an array over rows, and a mask `_key` of who has it.

Follows `gymnasium.vector.VectorEnv`: numbers become arrays of a dtype that holds them all, zero where a row
has no such key; arrays of one shape are stacked; dicts nest; anything else is an object array with None.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SCALARS = (bool, int, float, np.bool_, np.number)


def batch_infos(infos: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """One dict for the whole batch from one dict, or None, per row."""
    keys = dict.fromkeys(key for info in infos if info for key in info)
    batch: dict[str, Any] = {}
    for key in keys:
        mask = np.array([info is not None and key in info for info in infos])
        values = [info[key] if info and key in info else None for info in infos]
        batch[key] = _column(values, mask)
        batch[f"_{key}"] = mask
    return batch


def _column(values: list[Any], mask: Any) -> Any:
    present = [value for value, there in zip(values, mask, strict=True) if there]
    if all(isinstance(value, dict) for value in present):
        return batch_infos(values)
    if all(isinstance(value, _SCALARS) for value in present):
        dtype = np.asarray(present).dtype
        ints = all(isinstance(value, int | np.integer) for value in present)
        if dtype.kind not in ("fO" if ints else "O"):  # else ints that no dtype holds
            return _filled(values, mask, (), dtype)
    first = present[0]
    if isinstance(first, np.ndarray) and all(
        isinstance(value, np.ndarray) and value.shape == first.shape and value.dtype == first.dtype
        for value in present
    ):
        return _filled(values, mask, first.shape, first.dtype)
    column = np.full(len(values), None, dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return column


def _filled(values: list[Any], mask: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    column = np.zeros((len(values), *shape), dtype)
    for row in np.flatnonzero(mask):
        column[row] = values[row]
    return column
