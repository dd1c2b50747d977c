"""Observations as named columns: of a Dict its keys, nested ones as `arm/joints`; else one, `frame`.

A number is a row of shape (1,). float64 becomes float32, as networks have it; other dtypes stay.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from envpool_protocol.errors import SpecError

_ACTIONS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
_UNSIGNED = ("uint16", "uint32", "uint64")


class Column(NamedTuple):
    """Where a column's values are in a batch, and the shape and dtype of a row."""

    key: str
    path: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def found_in(self, batch: Any) -> Any:
        """Its array, as it is there."""
        for key in self.path:
            batch = batch[key]
        return batch

    def rows_of(self, array: Any) -> Any:
        """An array that was found, of shape (rows, *shape); a copy only where the dtype changes."""
        return array.reshape(len(array), *self.shape).astype(self.dtype, copy=False)

    def rows_in(self, batch: Any) -> Any:
        """Both."""
        return self.rows_of(self.found_in(batch))

    def zeros(self, rows: int) -> Any:
        """Rows of zeros."""
        return np.zeros((rows, *self.shape), self.dtype)


def columns_of(space: Any, taken: Container[str]) -> list[Column]:
    """The columns of a gymnasium space.

    Raises:
        SpecError: Text, an unsigned dtype that torch does not compute with, or a key that is taken.
    """
    columns: dict[str, Column] = {}
    for column in _below(space, ()):
        if column.key in taken or column.key in columns:
            raise SpecError(f"obs: {column.key!r} is the name of something else, too; rename this key")
        columns[column.key] = column
    return list(columns.values())


def _below(space: Any, path: tuple[Any, ...]) -> Iterator[Column]:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for key, member in space.items() if isinstance(space, spaces.Dict) else enumerate(space):
            yield from _below(member, (*path, key))
        return
    name = ".".join(map(str, ("obs", *path)))
    if isinstance(space, spaces.Text):
        raise SpecError(f"{name}: no tensor holds text; leave it out, or encode it in a Box")
    dtype = np.dtype(np.float32 if space.dtype == np.float64 else space.dtype)
    if dtype.name in _UNSIGNED:
        raise SpecError(f"{name}: torch cannot compute with {dtype.name}; use a signed dtype, or uint8")
    yield Column("/".join(map(str, path)) or "frame", path, space.shape or (1,), dtype)


def action_column(space: Any) -> Column:
    """The column of actions, in the space's own shape and dtype. Raises SpecError for Dict, Tuple, Text."""
    if not isinstance(space, _ACTIONS):
        names = ", ".join(known.__name__ for known in _ACTIONS)
        raise SpecError(f"action space {space}: an action is one tensor here; expected {names}")
    assert space.dtype is not None  # of these it never is
    return Column("action", (), space.shape or (), np.dtype(space.dtype))
