"""Spaces as torchrl's specs, arrays as tensors and back. Needs torch and torchrl: `make test-all`."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from echo import assert_same_value, batched, samples
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from envpool_protocol.errors import SpecError

pytestmark = pytest.mark.integration

ROWS = 3
SPACES = {
    "box": spaces.Box(-2, 3, (2, 3), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float64),
    "half-bounded": spaces.Box(0, np.inf, (2,), np.float32),
    "scalar": spaces.Box(-1, 1, (), np.float32),
    "half": spaces.Box(-1, 1, (2,), np.float16),
    "image": spaces.Box(0, 255, (2, 4, 3), np.uint8),
    "bool": spaces.Box(0, 1, (2,), bool),
    "long": spaces.Box(-(2**40), 2**40, (1,), np.int64),
    "discrete": spaces.Discrete(4),
    "discrete-from": spaces.Discrete(4, start=-7),
    "multi-discrete": spaces.MultiDiscrete([2, 5, 3]),
    "multi-discrete-from": spaces.MultiDiscrete([[2, 5], [3, 4]], dtype=np.int8, start=[[-3, 0], [7, 1]]),
    "multi-binary": spaces.MultiBinary((2, 3)),
    "dict": spaces.Dict(
        {"b": spaces.Box(-1, 1, (2,)), "a.c": spaces.Dict(d=spaces.Discrete(3), e=spaces.MultiBinary(2))}
    ),
    "tuple": spaces.Tuple(
        [
            spaces.Discrete(3, start=1),
            spaces.Tuple([spaces.Box(-1, 1, ()), spaces.Dict(x=spaces.Discrete(2))]),
        ]
    ),
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@pytest.fixture(scope="module")
def tensors() -> Any:
    with warnings.catch_warnings():  # what torchrl says while it is imported is not ours
        warnings.simplefilter("ignore")
        pytest.importorskip("torchrl", exc_type=ImportError)
        from envpool_wrap.integrations.tensors import tensors
    return tensors


def tensordict(value: Any) -> Any:
    from tensordict import TensorDict

    return TensorDict(value, [ROWS]) if isinstance(value, dict) else value


@every_space
def test_a_value_is_another_one_when_it_comes_back(space: Any, tensors: Any) -> None:
    kept = tensors(space, "obs")
    batch = batched(space, samples(space, 0, ROWS))
    back = kept.arrays(tensordict(kept.of(batch)))
    assert_same_value(back, batch)


@every_space
def test_a_value_is_outside_of_its_spec(space: Any, tensors: Any) -> None:
    kept = tensors(space, "obs")
    spec = kept.spec(ROWS)
    assert spec.shape[:1] == (ROWS,)
    value = tensordict(kept.of(batched(space, samples(space, 0, ROWS))))
    assert spec.contains(value) and spec.is_in(value)
    assert spec.zero().shape == value.shape


# torchrl's bounds are two-sided: what is bounded on one side only has an unbounded spec.
@pytest.mark.parametrize("name", SPACES.keys() - {"half-bounded"})
def test_a_random_value_of_the_spec_is_outside_of_the_space(name: str, tensors: Any) -> None:
    kept, space = tensors(SPACES[name], "obs"), SPACES[name]
    batch = kept.arrays(kept.spec(ROWS).rand())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Casting input x to numpy array")
        assert all(space.contains(row) for row in iterate(batch_space(space, ROWS), batch))


def test_an_array_is_copied_on_its_way(tensors: Any) -> None:
    for name in ("box", "image", "scalar", "discrete", "multi-binary"):
        batch = batched(SPACES[name], samples(SPACES[name], 0, ROWS))
        assert np.shares_memory(tensors(SPACES[name], "obs").of(batch).numpy(), batch), name


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(4), r"obs: no tensor holds a Text"),
        (spaces.Dict(say=spaces.Tuple([spaces.Text(4)])), r"obs\.say\.0: no tensor holds a Text"),
        (spaces.Dict(n=spaces.Box(0, 9, (2,), np.uint32)), r"obs\.n: torch cannot compute with uint32"),
        (spaces.MultiDiscrete([3], np.uint16), r"obs: torch cannot compute with uint16"),
    ],
    ids=["text", "nested-text", "uint32", "uint16"],
)
def test_a_space_that_tensors_cannot_hold_is_taken(space: Any, message: str, tensors: Any) -> None:
    with pytest.raises(SpecError, match=message):
        tensors(space, "obs")
