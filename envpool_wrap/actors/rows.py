"""Rows of typed leaves: which there are, how they lie in one buffer, what a lost one holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envpool_protocol.info_spec import masks_of
from envpool_protocol.spec import EnvSpec

Element = tuple[np.dtype[Any], tuple[int, ...]]  # dtype and shape of one row
Arrays = Sequence[Any]  # NDArray; or None: a final, in rows where no episode ended

_ALIGNMENT = 64
# The leaves that the engine writes (cpp_core/layout.h), but for the reward: dtype, and value where a row is
# lost: the last one of its episode, which is truncated.
_ENGINE: dict[str, tuple[Any, int]] = {
    "env_id": (np.int32, 0),
    "elapsed_step": (np.int32, 0),
    "terminated": (np.bool_, 0),
    "truncated": (np.bool_, 1),
    "done": (np.bool_, 1),
    "trunc": (np.bool_, 1),
    "discount": (np.float32, 1),
    "step_type": (np.int32, 2),
}


def elements(spec: EnvSpec, names: Sequence[str]) -> tuple[list[Element], list[int]]:
    """dtype and shape of the state leaves of these names, and which of them are finals: copies of others."""
    known: dict[str, Element] = {name: (np.dtype(dtype), ()) for name, (dtype, _) in _ENGINE.items()}
    known["reward"] = (spec.reward.numpy, ())
    told = [*spec.obs.leaves, *((*spec.info.leaves, *masks_of(spec.info)) if spec.info else ())]
    known |= {leaf.name: leaf.element for leaf in told}
    finals = [place for place, name in enumerate(names) if name not in known]
    return [known[name if name in known else name.removeprefix("final_")] for name in names], finals


def empty(leaves: Sequence[Element], rows: int) -> list[NDArray[Any]]:
    """New arrays of so many rows, with whatever is there."""
    return [np.empty((rows, *shape), dtype) for dtype, shape in leaves]


def lost(names: Sequence[str], leaves: Sequence[Element], env_id: Any, elapsed_step: Any) -> Arrays:
    """The rows of envs whose worker died: zeros and truncated, as the engine writes them."""
    told = {name: value for name, (_, value) in _ENGINE.items()}
    told |= {"env_id": env_id, "elapsed_step": elapsed_step}
    arrays = [np.zeros((len(env_id), *shape), dtype) for dtype, shape in leaves]
    for name, array in zip(names, arrays, strict=True):
        if name in told:
            array[:] = told[name]
    return arrays


def size(leaves: Sequence[Element], rows: int) -> int:
    """Bytes of so many rows in one buffer."""
    return sum(_nbytes(leaf, rows) for leaf in leaves)


def carve(leaves: Sequence[Element], rows: int, buffer: Any, start: int = 0) -> Arrays:
    """Arrays of so many rows that lie one after the other in `buffer`."""
    arrays: list[NDArray[Any]] = []
    for dtype, shape in leaves:
        arrays.append(np.ndarray((rows, *shape), dtype, buffer, start))
        start += _nbytes((dtype, shape), rows)
    return arrays


def _nbytes(leaf: Element, rows: int) -> int:
    nbytes = rows * leaf[0].itemsize * math.prod(leaf[1])
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
