"""A seed and options for each env of a reset, however they are given. In pools: test_seeds.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envpool_protocol.errors import ActionError, ConfigError
from envpool_wrap.resets import options_for, seeds_for


@pytest.mark.parametrize(
    ("seed", "seeds"),
    [
        (7, [10, 8]),
        (np.uint8(7), [10, 8]),
        ([5, None], [5, None]),
        ({1: 9}, [None, 9]),
        ({np.int64(3): 2}, [2, None]),
    ],
)
def test_seeds_go_to_other_envs(seed: Any, seeds: Any) -> None:
    assert seeds_for([3, 1], seed, 4) == seeds


def test_a_seed_sequence_depends_on_which_envs_are_reset() -> None:
    streams = seeds_for(range(4), np.random.SeedSequence(3), 4)
    assert seeds_for([3, 1], np.random.SeedSequence(3), 4) == [streams[3], streams[1]]


@pytest.mark.parametrize(
    ("options", "each"),
    [
        ({"level": 1}, [{"level": 1}, {"level": 1}]),
        ([{"level": 1}, None], [{"level": 1}, None]),
        ({1: {"level": 2}}, [None, {"level": 2}]),
        ({}, None),
        ([None, {}], None),
    ],
)
def test_options_go_to_other_envs(options: Any, each: Any) -> None:
    assert options_for([3, 1], options) == each


def test_envs_share_one_dict_of_options() -> None:
    given = {"level": 1}
    first, second = options_for([3, 1], given) or ()
    assert first is not second and first is not given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([{}], "options is a list of 1 for 2 envs; expected one dict per env"),
        ([{}, 3], "options=3: expected a dict"),
        ({2: {}}, r"options names env 2, which is not reset; expected keys out of \[3, 1\]"),
        (3, "options=3: expected a dict, a list of these with one per env, or a dict of these by env id"),
        ("ab", "options='ab': expected a dict, a list"),
    ],
)
def test_options_of_another_kind_are_taken(options: Any, message: str) -> None:
    with pytest.raises(ActionError, match=message):
        options_for([3, 1], options)


def test_seeds_of_another_kind_are_taken() -> None:
    with pytest.raises(ActionError, match="seed names env 0, which is not reset"):
        seeds_for([3, 1], {0: 1}, 4)
    for wrong in ([1], "x", 1.5, True):
        with pytest.raises(ConfigError, match="seed"):
            seeds_for([3, 1], wrong, 4)
