"""Envs that share NumPy's global generator over threads are told apart from a user who draws from it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from echo import Echo
from gymnasium import spaces

from envpool_protocol.errors import EnvError
from envpool_protocol.global_random import GlobalRandomWatch
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import source_of
from envpool_wrap.config import PoolConfig
from envpool_wrap.faces.gym import GymPool

SAID = r"envs \[\d+, \d+\] draw from NumPy's global generator .*default_rng\(seed\)` in `_seed_envpool`"


class Drawing(Echo):
    """Draws from the global generator at its step `at` and those after it, or at each reset."""

    def __init__(self, envid: int, at: int = 1, resets: bool = False) -> None:
        super().__init__(envid, spaces.Discrete(3))
        self.t, self.at, self.resets = 0, at, resets

    def _reset_envpool(self) -> None:
        if self.resets:
            np.random.permutation(3)  # noqa: NPY002

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        if self.t >= self.at:
            np.random.randn()  # noqa: NPY002


class Patient(Echo):
    """Lets other threads run within each step, and draws from a generator of its own."""

    def __init__(self, envid: int) -> None:
        super().__init__(envid, spaces.Discrete(3))
        self.np_random = np.random.default_rng(envid)

    def _step_envpool(self, action: Any) -> None:
        self.np_random.random(2_000)
        np.linalg.norm(np.ones(200_000))  # gives up the GIL for a while


def pool_of(cls: type, num_envs: int = 4, backend: str = "thread", **settings: Any) -> Any:
    kwargs = {key: settings.pop(key) for key in ("at", "resets") if key in settings}
    source = source_of(cls, "Env", kwargs)
    config = PoolConfig.of({"num_envs": num_envs, "backend": backend, "num_threads": 2, **settings})
    description = source.describe()
    return GymPool(source, description, prebuilt_module(description), config)


def drive(pool: Any, steps: int) -> None:
    pool.reset()
    for _ in range(steps):
        pool.step(np.zeros(len(pool), int))


@pytest.mark.parametrize("how", [{"at": 1}, {"at": 90}, {"at": 10**9, "resets": True}])
@pytest.mark.parametrize("caller_steps", [True, False])
def test_envs_share_the_global_generator_unnoticed(how: dict[str, Any], caller_steps: bool) -> None:
    with pool_of(Drawing, caller_steps=caller_steps, **how) as pool:
        with pytest.warns(UserWarning, match=SAID) as told:
            drive(pool, 99)
            for _ in range(9):
                drive(pool, 9)
        assert len(told) == 1


def test_envs_of_an_asynchronous_pool_share_it_unnoticed() -> None:
    with pool_of(Drawing, batch_size=2) as pool, pytest.warns(UserWarning, match=SAID):
        pool.async_reset()
        for _ in range(300):
            ids = pool.recv()[-1]["env_id"]
            pool.send(np.zeros(len(ids), int), ids)


@pytest.mark.parametrize(
    "how",
    [
        {"at": 101},  # nobody looks any more
        {"backend": "inline", "num_threads": 0},
        {"num_threads": 1},
    ],
)
def test_a_use_that_the_timing_does_not_change_is_told(how: dict[str, Any]) -> None:
    with pool_of(Drawing, **how) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        drive(pool, 105)


def test_one_env_that_gets_the_same_numbers_whenever_it_runs_is_told() -> None:
    watch = GlobalRandomWatch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for env_id in (0, 0, 1):
            before = watch.state()
            if env_id == 0:
                np.random.random()  # noqa: NPY002
            watch.compare(env_id, before)
    before = watch.state()
    np.random.random()  # noqa: NPY002
    with pytest.warns(UserWarning, match=r"envs \[0, 2\] draw from"):
        watch.compare(2, before)
    assert watch.state() is None


@pytest.mark.parametrize("batch_size", [0, 2])
def test_what_the_user_draws_is_taken_for_an_envs(batch_size: int) -> None:
    with pool_of(Patient, batch_size=batch_size) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.async_reset()
        for _ in range(80):
            ids = pool.recv()[-1]["env_id"]
            pool.send(np.random.randint(0, 3, len(ids)), ids)  # noqa: NPY002
            np.random.standard_normal(50_000)  # noqa: NPY002 - while envs run


def test_a_warning_that_is_an_error_is_lost() -> None:
    with pool_of(Drawing) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EnvError, match=SAID) as caught:
            drive(pool, 20)
        assert isinstance(caught.value.__cause__, UserWarning)
        drive(pool, 20)
