"""What goes to each env by itself: seeds, options, constructor arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from envs import Counting, Faulty, WalkEnv

from envpool_protocol.errors import ActionError, ConfigError


def test_the_pools_seeds_are_given_again_or_never(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, seed=7)
    assert pool.get_attr("seeds") == [[], [], []]
    pool.step(np.zeros(1, int), env_id=[1])
    assert pool.get_attr("seeds") == [[], [8], []]
    pool.reset()
    pool.reset()
    assert pool.get_attr("seeds") == [[7], [8], [9]]


@pytest.mark.parametrize(
    ("seed", "env_id", "seeds"),
    [
        (100, None, [100, 101, 102]),
        (100, [2, 0], [100, None, 102]),
        ([5, 6, 7], None, [5, 6, 7]),
        ([5, 6], [2, 1], [None, 6, 5]),
        (np.array([5, 6, 7]), None, [5, 6, 7]),
        ([5, None, 7], None, [5, None, 7]),
        (np.int64(3), 1, [None, 4, None]),
        (np.array(3), 1, [None, 4, None]),
        (range(5, 7), [2, 1], [None, 6, 5]),
    ],
)
def test_reset_gives_a_seed_to_the_wrong_env(
    make: Any, backend: str, seed: Any, env_id: Any, seeds: Any
) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, seed=7)
    pool.reset()
    pool.set_attr("seeds", [])  # one list, so each env needs its own
    for env_number in range(3):
        pool.set_attr("seeds", [], env_id=env_number)
    pool.reset(env_id, seed=seed)
    assert pool.get_attr("seeds") == [[] if one is None else [one] for one in seeds]


def test_a_missing_seed_in_the_first_reset_takes_the_pools_away(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=2, backend=backend, seed=7)
    pool.reset(seed=[None, 5])
    assert pool.get_attr("seeds") == [[7], [5]]


def test_a_seed_sequence_seeds_by_position_instead_of_env(make: Any) -> None:
    pool = make(Faulty, num_envs=3, seed=np.random.SeedSequence(1))
    pool.reset()
    first = [list(seeds) for seeds in pool.get_attr("seeds")]
    pool.reset([2, 1], seed=np.random.SeedSequence(1))
    assert pool.get_attr("seeds") == [first[0], first[1] * 2, first[2] * 2]
    assert len({seed for [seed, *_] in first}) == 3


def test_the_default_seeding_misses_np_random(make: Any, backend: str) -> None:
    one, two = (make(WalkEnv, num_envs=2, backend=backend, seed=3) for _ in range(2))
    first, _ = one.reset()
    assert np.array_equal(first, two.reset()[0])
    assert first[0] != first[1]
    assert not np.array_equal(one.reset()[0], first)
    assert np.array_equal(one.reset(seed=3)[0], first)


@pytest.mark.parametrize(
    ("seed", "message"),
    [([1, 2], "a list of 2 for 3 envs"), (-5, "seed=-5"), (0.5, "seed=0.5"), (True, "True")],
)
def test_a_bad_seed_resets_envs(make: Any, seed: Any, message: str) -> None:
    pool = make(Faulty, num_envs=3)
    pool.step(np.zeros(3, int))
    pool.step(np.zeros(3, int))
    with pytest.raises(ConfigError, match=message):
        pool.reset(seed=seed)
    assert pool.get_attr("t") == [1, 1, 1]


def test_options_go_to_the_wrong_env_or_stay(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=3, backend=backend)
    pool.reset(options={"level": 3})
    assert pool.get_attr("options") == [{"level": 3}] * 3
    pool.reset([2, 0], options=[{"level": 1}, None])
    assert pool.get_attr("options") == [{}, {"level": 3}, {"level": 1}]
    pool.reset()
    assert pool.get_attr("options") == [{}, {}, {}]


def test_the_env_and_the_caller_share_the_options_dict(make: Any) -> None:
    pool = make(Faulty, num_envs=2)
    options = {"level": 3}
    pool.reset(options=options)
    one, two = pool.get_attr("options")
    one["level"] = 4
    assert (options, two) == ({"level": 3}, {"level": 3})


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Counting, {"a": 1}, "_reset_envpool takes no options"),
        (Faulty, [{"a": 1}], "options is a list of 1 for 2 envs"),
        (Faulty, [{"a": 1}] * 3, "options is a list of 3 for 2 envs"),
        (Faulty, [{"a": 1}, 3], "options=3: expected a dict"),
    ],
)
def test_options_that_nobody_takes_are_dropped(make: Any, cls: Any, options: Any, message: str) -> None:
    pool = make(cls, num_envs=2)
    with pytest.raises(ActionError, match=message):
        pool.reset(options=options)
    pool.reset(options={})


@pytest.mark.parametrize(
    "given", [{"ends_after": 1}, [{"ends_after": 1}] * 3, lambda env_id: {"ends_after": 1}]
)
def test_constructor_arguments_do_not_arrive(make: Any, backend: str, given: Any) -> None:
    pool = make(Counting, num_envs=3, backend=backend, env_kwargs=given)
    assert pool.get_attr("ends_after") == [1, 1, 1]


def test_constructor_arguments_of_one_env_go_to_another(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend, env_kwargs=lambda env_id: {"ends_after": 10 + env_id})
    assert pool.get_attr("ends_after") == [10, 11, 12]
    assert pool.get_attr("envid") == [0, 1, 2]


def test_render_mode_breaks_an_env_that_takes_none(make: Any) -> None:
    pool = make(Counting, render_mode="rgb_array")
    assert pool.render_mode == "rgb_array"


def test_render_mode_does_not_reach_an_env_that_takes_it(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Counting.__init__

    def with_mode(self: Any, envid: int, render_mode: str = "none") -> None:
        before(self, envid)
        self.render_mode = render_mode

    make(Counting)
    monkeypatch.setattr(Counting, "__init__", with_mode)
    assert make(Counting, render_mode="rgb_array").get_attr("render_mode") == ["rgb_array"]
