"""Spaces as torchrl's specs, arrays as tensors and back.

    kept = tensors(space, "obs")
    kept.spec(8)            the spec of 8 rows
    kept.of(arrays)         tensors that share the memory of the arrays, or tensors as they are
    kept.rows(tensors)      and back, on their device
    kept.arrays(tensors)    the same as arrays

A Dict is a Composite; a Tuple is one with the keys "0", "1", ... A scalar Box has shape (1,), as in torchrl's
own gym envs. torchrl counts from 0: the `start` of a Discrete or MultiDiscrete is taken off and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from envpool_protocol.errors import SpecError
from envpool_wrap.imports import needs

with needs("torchrl"):
    import torch
    from torchrl.data import Binary, Bounded, Categorical, Composite, MultiCategorical, Unbounded


def tensors(space: Any, name: str) -> Leaf | Branch:
    """How values of a gymnasium space become tensors; `name` is what an error calls it.

    Raises:
        SpecError: it has a Text, or numbers that torch does not compute with.
    """
    if isinstance(space, spaces.Dict):
        return Branch({key: tensors(child, f"{name}.{key}") for key, child in space.items()})
    if isinstance(space, spaces.Tuple):
        members = {str(index): tensors(child, f"{name}.{index}") for index, child in enumerate(space)}
        return Branch(members, is_tuple=True)
    return Leaf(space, name)


class Leaf:
    """One array per row."""

    def __init__(self, space: Any, name: str) -> None:
        if type(space) not in _SPECS:
            kind = type(space).__name__
            raise SpecError(
                f"{name}: no tensor holds a {kind}; leave it out, or encode it in a Box or MultiDiscrete"
            )
        self._space, self._start = space, np.asarray(getattr(space, "start", 0))
        self._shape = space.shape or ((1,) if isinstance(space, spaces.Box) else ())
        self._dtype = torch.int64 if isinstance(space, spaces.Discrete) else _torch_dtype(space.dtype, name)

    def spec(self, rows: int) -> Any:
        """torchrl's spec of so many rows."""
        make = _SPECS[type(self._space)]
        return make(self._space, self._shape, self._dtype).expand(rows, *self._shape)

    def of(self, array: Any) -> Any:
        """A tensor of shape (rows, *shape): the array's own memory, unless there is a `start` to take off."""
        tensor = torch.as_tensor(array)
        counted = tensor - self._start_like(tensor) if self._start.any() else tensor
        return counted.reshape(len(counted), *self._shape)

    def rows(self, tensor: Any) -> Any:
        """The tensor as `of` was given it. Another shape stays as it is."""
        tensor = tensor.detach()
        if tensor.shape[1:] == self._shape:
            tensor = tensor.reshape(len(tensor), *self._space.shape)
        return tensor + self._start_like(tensor) if self._start.any() else tensor

    def arrays(self, tensor: Any) -> Any:
        """The array that `of` made the tensor from, wherever the tensor is. Another shape stays as it is."""
        return self.rows(tensor).cpu().numpy()

    def _start_like(self, tensor: Any) -> Any:
        return torch.as_tensor(self._start, dtype=tensor.dtype, device=tensor.device)


class Branch:
    """The members of a Dict or Tuple."""

    def __init__(self, members: Mapping[str, Leaf | Branch], is_tuple: bool = False) -> None:
        self.members, self.is_tuple = members, is_tuple

    def spec(self, rows: int) -> Any:
        """A Composite."""
        return Composite({key: member.spec(rows) for key, member in self.members.items()}, shape=(rows,))

    def of(self, values: Any) -> dict[str, Any]:
        """Tensors by key."""
        by_key = values if isinstance(values, Mapping) else dict(zip(self.members, values, strict=True))
        return {key: member.of(by_key[key]) for key, member in self.members.items()}

    def rows(self, tensordict: Any) -> Any:
        """A dict or tuple of tensors."""
        return self._nested({key: member.rows(tensordict.get(key)) for key, member in self.members.items()})

    def arrays(self, tensordict: Any) -> Any:
        """A dict or tuple of arrays."""
        return self._nested({key: member.arrays(tensordict.get(key)) for key, member in self.members.items()})

    def _nested(self, values: dict[str, Any]) -> Any:
        return tuple(values.values()) if self.is_tuple else values


def _box(space: spaces.Box, shape: tuple[int, ...], dtype: Any) -> Any:
    if not space.is_bounded():
        return Unbounded(shape, dtype=dtype)
    low, high = (torch.from_numpy(bound.copy()).reshape(shape) for bound in (space.low, space.high))
    return Bounded(low, high, shape, dtype=dtype)


_SPECS: dict[type, Callable[[Any, tuple[int, ...], Any], Any]] = {
    spaces.Box: _box,
    spaces.Discrete: lambda space, shape, dtype: Categorical(int(space.n), shape=shape, dtype=dtype),
    spaces.MultiDiscrete: lambda space, shape, dtype: MultiCategorical(
        torch.from_numpy(space.nvec), shape=shape, dtype=dtype
    ),
    spaces.MultiBinary: lambda space, shape, dtype: Binary(shape[-1], shape=shape, dtype=dtype),
}


def _torch_dtype(dtype: Any, name: str) -> Any:
    if dtype.name in ("uint16", "uint32", "uint64"):
        raise SpecError(f"{name}: torch cannot compute with {dtype.name}; use a signed dtype, or uint8")
    return torch.from_numpy(np.empty(0, dtype)).dtype
