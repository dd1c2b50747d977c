"""An env that returns its last action as its next observation, for any space."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from hypothesis import strategies as st

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.spec import DTYPES


class Echo(EnvPoolProtocol):
    """Its first observation is the first sample of its space under seed `envid`."""

    def __init__(self, envid: int, space: Any) -> None:
        self.observation_space = self.action_space = space
        self.first = samples(space, envid, 1)[0]
        self.action = self.first

    def _seed_envpool(self, seed: int) -> None:
        pass

    def _reset_envpool(self) -> None:
        self.action = self.first

    def _step_envpool(self, action: Any) -> None:
        self.action = action

    def _make_obs_envpool(self) -> Any:
        return self.action

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return 0.0


def samples(space: Any, seed: int, rows: int) -> list[Any]:
    """So many values of the space, always the same ones under a seed."""
    space = copy.deepcopy(space)
    space.seed(seed)
    return [space.sample() for _ in range(rows)]


def batched(space: Any, values: list[Any]) -> Any:
    """The values as gymnasium's vector envs put them together."""
    return concatenate(space, values, create_empty_array(space, len(values)))


def leaves(value: Any) -> list[Any]:
    """What is left when dicts and tuples are taken apart; dicts in the order of their keys."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for member in value for leaf in leaves(member)] if isinstance(value, tuple) else [value]


def row_of(batch: Any, row: int) -> Any:
    """One env's part of a batch of the gym face."""
    if isinstance(batch, dict):
        return {key: row_of(member, row) for key, member in batch.items()}
    return tuple(row_of(member, row) for member in batch) if isinstance(batch, tuple) else batch[row]


def assert_same_value(one: Any, two: Any) -> None:
    """The same nesting, and the same bytes in every leaf."""
    assert type(one) is type(two) or not isinstance(one, dict | tuple)
    for a, b in zip(leaves(one), leaves(two), strict=True):
        if isinstance(b, str):
            assert str(a) == b
        else:
            assert np.shape(a) == np.shape(b)
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


CHARSETS = ["ab", "0123456789", "aé\U0001f600\ud800", " \n\"'\\{}%"]

# Spaces of which modules are compiled.

BOXES = spaces.Dict(
    {
        **{name: spaces.Box(0, 1, (2, 3), np.dtype(name)) for name in DTYPES},
        "scalar": spaces.Box(-np.inf, np.inf, (), np.float64),
        "empty": spaces.Box(0, 1, (2, 0, 3), np.float16),
    }
)
COUNTS = spaces.Tuple(
    [
        spaces.Discrete(5, start=-(2**40)),
        spaces.MultiDiscrete([[3, 5], [1, 9]], np.int8, start=[[1, -7], [0, 100]]),
        spaces.MultiBinary((2, 2)),
        spaces.Text(6, min_length=0, charset=CHARSETS[2]),
    ]
)
DEEP = spaces.Dict(
    a=spaces.Tuple([spaces.Dict(b=spaces.Text(3), c=spaces.Box(-1, 1, (3,))), spaces.Text(2, charset="xy")]),
    d=spaces.Discrete(3),
)
MISSION = spaces.Text(12, charset="go t")

# Any space, smallest first.

_INTS = [name for name in DTYPES if "int" in name]
_SHAPES = st.sampled_from([(), (1,), (3,), (0,), (2, 0, 3), (2, 2), (2, 1, 3)])


@st.composite
def boxes(draw: st.DrawFn) -> Any:
    name, shape = draw(st.sampled_from(list(DTYPES))), draw(_SHAPES)
    dtype = np.dtype(name)
    if name == "bool":
        return spaces.Box(0, 1, shape, dtype)
    if dtype.kind == "f" and draw(st.booleans()):
        return spaces.Box(-np.inf, np.inf, shape, dtype)
    least, most = (0, 255) if dtype.kind == "u" else (-128, 127)
    low, high = sorted(draw(st.tuples(*[st.integers(least, most)] * 2)))
    return spaces.Box(low, high, shape, dtype)


discretes = st.builds(
    lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-(2**40), 2**40)
)


@st.composite
def multi_discretes(draw: st.DrawFn) -> Any:
    shape, dtype = draw(st.sampled_from([(1,), (3,), (2, 2)])), draw(st.sampled_from(_INTS))
    size, least = int(np.prod(shape)), -60 if dtype[0] == "i" else 0
    nvec, start = (
        np.reshape(draw(st.lists(st.integers(low, 60), min_size=size, max_size=size)), shape)
        for low in (1, least)
    )
    return spaces.MultiDiscrete(nvec, dtype, start=start)


multi_binaries = st.builds(
    spaces.MultiBinary, st.integers(1, 4) | st.lists(st.integers(1, 3), min_size=1, max_size=3)
)


@st.composite
def texts(draw: st.DrawFn) -> Any:
    least, most = sorted(draw(st.tuples(st.integers(0, 9), st.integers(1, 9))))
    return spaces.Text(max(most, 1), min_length=least, charset=draw(st.sampled_from(CHARSETS)))


FLAT = st.one_of(boxes(), discretes, multi_discretes(), multi_binaries, texts())
_KEYS = st.text('abc é"\\', min_size=1, max_size=4)


def _inside(members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(st.tuples(_KEYS, members), min_size=1, max_size=3, unique_by=lambda item: item[0])
    dicts = items.map(lambda pairs: spaces.Dict(OrderedDict(pairs)))
    return dicts | st.lists(members, min_size=1, max_size=3).map(spaces.Tuple)


NESTED = FLAT | _inside(FLAT) | _inside(FLAT | _inside(FLAT)) | _inside(FLAT | _inside(FLAT | _inside(FLAT)))
