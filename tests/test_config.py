"""Settings that are wrong are refused by name, and those that are right arrive as they are."""

from __future__ import annotations

import threading
from typing import Any

import envs
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from envpool_protocol.errors import ConfigError, EnvError, EnvPoolError
from envpool_wrap.config import PoolConfig, seeds_of


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_env": 3}, r"unknown setting 'num_env'\. Nearest: 'num_envs'"),
        ({"batchsize": 3}, "Nearest: 'batch_size'"),
        ({"zzz": 3}, "unknown setting 'zzz'. Settings: num_envs"),
        ({"frame_skip": 4}, r"goes into env_kwargs=\{'frame_skip': \.\.\.\}"),
        ({"max_num_players": 2}, "max_num_players=2: expected 1."),
        ({"num_envs": 0}, "num_envs=0: expected an int of at least 1"),
        ({"num_envs": -1}, "num_envs=-1"),
        ({"num_envs": 2.0}, "num_envs=2.0: expected an int"),
        ({"num_envs": True}, "num_envs=True: expected an int"),
        ({"num_envs": "3"}, "num_envs='3': expected an int"),
        ({"num_envs": 2**31}, r"num_envs=2147483648: expected an int of at least 1, and below 2\*\*31"),
        ({"num_envs": 2, "batch_size": 3}, "batch_size=3 is more than num_envs=2"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"num_threads": -1}, "num_threads=-1"),
        ({"backend": "threads"}, r"backend='threads': expected one of .*Nearest: 'thread'"),
        ({"backend": None}, "backend=None"),
        ({"autoreset_mode": "same"}, "autoreset_mode='same': expected one of 'next_step', 'same_step'"),
        ({"keep_options": "yes"}, "keep_options='yes': expected one of False, True"),
        ({"on_error": "retry"}, "on_error='retry': expected one of 'raise', 'restart'"),
        ({"max_restarts": -1}, "max_restarts=-1: expected an int of at least 0"),
        ({"caller_steps": "always"}, "caller_steps='always': expected one of 'auto', True, False"),
        ({"caller_steps": 1}, "caller_steps=1"),
        ({"check": 1}, "check=1: expected one of 'auto', True, False"),
        ({"check": "always"}, "check='always': expected one of"),
        ({"max_episode_steps": 0}, "max_episode_steps=0"),
        ({"timeout": 0}, "timeout=0: expected a number of seconds above 0"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"timeout": True}, "timeout=True"),
        ({"timeout": "1"}, "timeout='1'"),
        ({"thread_affinity_offset": 2**40}, "thread_affinity_offset=1099511627776"),
        ({"thread_affinity_offset": -2}, "thread_affinity_offset=-2: expected -1"),
        ({"max_num_players": 2}, "max_num_players=2"),
        ({"gym_reset_return_info": False}, "gym_reset_return_info=False"),
    ],
)
def test_an_impossible_setting_is_taken(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        PoolConfig.of(settings)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, EnvPoolError)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, "NextStep", "next_step", "next-step"])
def test_gymnasiums_own_word_for_next_step_is_refused(mode: Any) -> None:
    assert PoolConfig.of({"autoreset_mode": mode}).autoreset_mode == "next_step"


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_member_of_gymnasiums_autoreset_mode_is_refused(mode: Any) -> None:
    assert PoolConfig.of({"autoreset_mode": mode}).autoreset_mode == mode.name.lower()


def test_numpy_numbers_are_refused() -> None:
    config = PoolConfig.of({"num_envs": np.int64(4), "batch_size": np.uint8(2), "timeout": np.float32(0.5)})
    assert (config.num_envs, config.rows, config.is_async, config.timeout) == (4, 2, True, 0.5)


@pytest.mark.parametrize("answer", [True, False])
def test_a_numpy_bool_is_refused(answer: bool) -> None:
    settings = dict.fromkeys(("compiled", "caller_steps", "check", "episode_stats"), np.bool_(answer))
    config = PoolConfig.of(settings)
    assert [getattr(config, key) is answer for key in settings] == [True] * 4


def test_keys_that_envpool_users_pass_are_refused() -> None:
    PoolConfig.of({"base_path": "/anywhere", "gym_reset_return_info": True, "max_num_players": 1})


def test_a_full_batch_size_is_taken_for_asynchronous() -> None:
    assert not PoolConfig.of({"num_envs": 3, "batch_size": 3}).is_async
    assert not PoolConfig.of({"num_envs": 3}).is_async
    assert PoolConfig.of({"num_envs": 3, "batch_size": 2}).is_async


def test_a_missing_seed_cannot_be_repeated() -> None:
    one, two = (PoolConfig.of({"seed": None}).seed for _ in range(2))
    assert isinstance(one, int)
    assert one != two


def test_seeds_of_an_int_do_not_count_up() -> None:
    assert seeds_of(7, 3) == [7, 8, 9]
    assert seeds_of(np.uint32(7), 2) == seeds_of(np.array(7), 2) == [7, 8]


def test_a_list_of_seeds_is_changed() -> None:
    assert seeds_of([5, None, 2**63 - 1], 3) == [5, None, 2**63 - 1]
    assert seeds_of(np.array([5, 4]), 2) == [5, 4]
    assert seeds_of(range(5, 7), 2) == [5, 6]


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ([1, 2], "seed is a list of 2 for 3 envs"),
        ([1, 2, 3, 4], "seed is a list of 4 for 3 envs"),
        (-1, "seed=-1: expected 0 to"),
        ([1, -2, 3], "seed=-2"),
        (2**63 - 2, "seed=9223372036854775808"),
        (1.5, "seed=1.5: expected an int"),
        (True, "seed=True"),
        ("abc", "seed='abc'"),
        (np.zeros((3, 2), int), "expected an int"),
    ],
)
def test_a_bad_seed_is_taken(seed: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        seeds_of(seed, 3)


def test_a_seed_sequence_depends_on_how_often_it_was_used() -> None:
    sequence = np.random.SeedSequence(7)
    first = seeds_of(sequence, 3)
    assert seeds_of(sequence, 3) == first == seeds_of(np.random.SeedSequence(7), 3)
    assert sequence.n_children_spawned == 0
    children = np.random.SeedSequence(7).spawn(3)
    assert first == [int(child.generate_state(1, np.uint64)[0] >> np.uint64(1)) for child in children]
    assert len(set(first)) == 3


def test_streams_of_a_larger_pool_are_not_those_that_spawn_makes() -> None:
    children = np.random.SeedSequence(7, pool_size=8).spawn(2)
    seeds = seeds_of(np.random.SeedSequence(7, pool_size=8), 2)
    assert seeds == [int(child.generate_state(1, np.uint64)[0] >> np.uint64(1)) for child in children]


def test_streams_of_a_spawned_sequence_are_those_of_its_parent() -> None:
    parent = np.random.SeedSequence(7)
    assert not set(seeds_of(parent.spawn(1)[0], 3)) & set(seeds_of(np.random.SeedSequence(7), 3))


def test_a_seed_list_of_the_wrong_length_builds_the_pool(make: Any) -> None:
    with pytest.raises(ConfigError, match="seed is a list of 2 for 3 envs"):
        make(envs.Counting, num_envs=3, seed=[1, 2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{}], "env_kwargs is a list of 1; expected"),
        ([{}] * 3, "env_kwargs is a list of 3; expected"),
        (3, "env_kwargs is 3"),
        ("ab", "env_kwargs is 'ab'; expected"),
        ([{}, None], "env_kwargs of env 1 is None; expected a dict"),
    ],
)
def test_bad_env_kwargs_build_the_pool(make: Any, given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(envs.Counting, num_envs=2, env_kwargs=given)


def test_a_function_without_arguments_for_an_env_blames_the_env(make: Any, backend: str) -> None:
    with pytest.raises(EnvError, match="env 1: __init__ raised ConfigError: env_kwargs of env 1 is 3; expe"):
        make(envs.Counting, num_envs=2, backend=backend, env_kwargs=lambda env_id: 3 if env_id else {})


def test_env_kwargs_are_copied_on_their_way_to_the_env(make: Any) -> None:
    lock = threading.Lock()  # cannot be copied, nor pickled
    pool = make(envs.Faulty, env_kwargs={"error": lock})
    assert pool.get_attr("error") == [lock]
    assert pool.config["env_kwargs"]["error"] is lock
    assert pool.spec.config.env_kwargs["error"] is lock
