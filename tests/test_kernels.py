"""Pools of compiled envs do what pools of the same envs do interpreted, and what only they can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from envs import Counting
from gymnasium import spaces
from kernel_envs import RAISE, Drift

import envpool_wrap
from envpool_protocol import CppWrapperGenerator
from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    EnvError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
    PoolTimeout,
    SpecError,
)

pytest.importorskip("numba")

HOW = {
    "inline": {"backend": "inline"},
    "thread": {"num_threads": 2},
    "thread without the caller": {"num_threads": 2, "caller_steps": False},
    "three threads": {"num_threads": 3},
}
FEW = 7


@pytest.fixture(scope="module")
def drift(home: Any) -> str:
    return CppWrapperGenerator.generate_envpool_wrap(Drift, compiled=True).task_id


@pytest.fixture
def make(drift: str) -> Iterator[Callable[..., Any]]:
    """`make(env_type="gym", **config)`: a pool of Drifts that is closed after the test."""
    pools: list[Any] = []

    def make_pool(env_type: str = "gym", **config: Any) -> Any:
        pools.append(envpool_wrap.make(drift, env_type, **{"num_envs": FEW, **config}))
        return pools[-1]

    yield make_pool
    for pool in pools:
        pool.close()


def leaves_of(result: Any) -> list[Any]:
    """All arrays of what a face returned, nested as they may be."""
    if isinstance(result, dict):
        return [leaf for key in sorted(result) for leaf in leaves_of(result[key])]
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in leaves_of(part)]
    if hasattr(result, "_fields") or hasattr(result, "_asdict"):
        return leaves_of(result._asdict())
    return [result]


def assert_same(one: Any, two: Any) -> None:
    ours, theirs = leaves_of(one), leaves_of(two)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(a, np.ndarray) and a.dtype == object:
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)
        else:
            np.testing.assert_array_equal(a, b, strict=isinstance(a, np.ndarray))


# ---- as interpreted ----


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("face", ["gym", "gymnasium", "dm"])
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_compiled_and_interpreted_pools_return_the_same(make: Any, how: str, face: str, mode: str) -> None:
    settings = {"autoreset_mode": mode, "max_episode_steps": 5, "seed": 11}
    if face != "dm":
        settings["episode_stats"] = True
    compiled = make(face, **settings, **HOW[how])
    interpreted = make(face, **settings, backend="inline", compiled=False)
    assert "compiled hooks" in repr(compiled)
    assert "compiled hooks" not in repr(interpreted)
    assert_same(_without_times(compiled.reset()), _without_times(interpreted.reset()))
    rng = np.random.default_rng(0)
    for _ in range(60):
        actions = rng.integers(0, 2, FEW)
        assert_same(_without_times(compiled.step(actions)), _without_times(interpreted.step(actions)))
    assert compiled.stats()["steps"] == interpreted.stats()["steps"]
    assert compiled.stats()["episodes"] == interpreted.stats()["episodes"]


def _without_times(result: Any) -> Any:
    info = result[-1]
    if isinstance(info, dict) and "episode" in info:
        info["episode"].pop("t")
    return result


@pytest.mark.parametrize("how", HOW)
def test_subsets_seeds_and_masked_resets_are_the_same(make: Any, how: str) -> None:
    pools = [make(**HOW[how]), make(backend="inline", compiled=False)]
    rng = np.random.default_rng(1)
    for pool in pools:
        pool.reset()
    for round_ in range(40):
        ids = rng.permutation(FEW)[: 1 + round_ % FEW].astype(np.int32)
        actions = rng.integers(0, 2, len(ids))
        assert_same(*[pool.step(actions, ids) for pool in pools])
        if round_ % 7 == 0:
            assert_same(*[pool.reset(ids[:2], seed=[round_, None][: len(ids[:2])]) for pool in pools])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_async_trajectories_are_those_of_a_loop(make: Any, batch_size: int, threads: int) -> None:
    pool = make(num_envs=11, batch_size=batch_size, num_threads=threads, max_episode_steps=6)
    alone = make(num_envs=11, backend="inline", compiled=False, max_episode_steps=6)
    first = dict(enumerate(alone.reset()[0]))
    pool.async_reset()
    steps = np.zeros(11, int)
    for _ in range(400):
        obs, reward, terminated, truncated, info = pool.recv()
        ids = info["env_id"]
        assert len(ids) == batch_size
        for row, env in enumerate(ids.tolist()):
            if steps[env] == 0:
                np.testing.assert_array_equal(obs[row], first[env])
                continue
            there = alone.step([steps[env] % 2], [env])
            np.testing.assert_array_equal(obs[row], there[0][0])
            assert (reward[row], terminated[row], truncated[row]) == tuple(part[0] for part in there[1:4])
            assert info["elapsed_step"][row] == there[4]["elapsed_step"][0]
            assert info["place"][row] == there[4]["place"][0]
        steps[ids] += 1
        pool.send(steps[ids] % 2, ids)


def test_pending_sends_come_back_in_their_order(make: Any) -> None:
    pool = make(num_threads=2)
    pool.reset()
    for ids in ([4, 0], [6], [1, 5, 2]):
        pool.send(np.ones(len(ids), int), ids)
    for ids in ([4, 0], [6], [1, 5, 2]):
        assert pool.recv()[4]["env_id"].tolist() == ids
    with pytest.raises(NothingPendingError):
        pool.recv()


def test_disabled_mode_refuses_an_env_that_ended(make: Any) -> None:
    pool = make(num_envs=3, autoreset_mode="disabled", max_episode_steps=2, backend="inline")
    pool.reset()
    pool.step(np.zeros(3, int))
    pool.step(np.zeros(3, int))
    with pytest.raises(ActionError, match="no episode is going on"):
        pool.step(np.zeros(3, int))
    pool.reset([1])
    assert pool.step([0], [1])[0][0, 2] == 1


# ---- failures ----


@pytest.mark.parametrize("how", HOW)
def test_a_hook_that_raises_is_an_env_error_and_the_others_go_on(make: Any, how: str) -> None:
    pool = make(**HOW[how])
    pool.reset()
    actions = np.ones(FEW, int)
    pool.step(actions)
    actions[[2, 5]] = RAISE
    with pytest.raises(EnvError) as caught:
        pool.step(actions)
    first, second = caught.value.errors
    assert (first.env_id, first.hook, first.seed, first.elapsed_step) == (2, "_step_envpool", 44, 1)
    assert (second.env_id, int(first.action)) == (5, RAISE)
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__cause__.args == ("action two",)
    obs, reward, terminated, truncated, info = caught.value.result
    assert truncated.nonzero()[0].tolist() == [2, 5]
    assert not terminated.any()
    assert not obs[[2, 5]].any()
    assert not reward[[2, 5]].any()
    assert obs[[0, 1, 3, 4, 6], 2].tolist() == [2] * 5
    obs, *_, info = pool.step(np.ones(FEW, int))
    assert info["elapsed_step"].tolist() == [3, 3, 0, 3, 3, 0, 3]
    assert obs[[2, 5], 1].tolist() == [2, 2], "their next step is a reset"


class Relapsing(Drift):
    """Its second reset raises, in the hook `reset` or, with `late`, in the observation after it."""

    state_envpool: ClassVar[dict[str, Any]] = {"late": np.bool_}

    def __init__(self, envid: int, late: bool = False) -> None:
        super().__init__(envid)
        self.late = late

    def _reset_envpool(self) -> None:
        self.t = 0
        self.resets += 1
        if self.resets == 2 and not self.late:
            raise ValueError("no second life", self.id)

    def _make_obs_envpool(self, out: Any) -> None:
        if self.resets == 2 and self.late:
            raise ValueError("no second sight")
        out[0] = out[1] = out[3] = self.resets
        out[2] = self.t


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_a_reset_that_raises_is_told_of_as_interpreted(home: Any, mode: str, late: bool) -> None:
    task = CppWrapperGenerator.generate_envpool_wrap(Relapsing, compiled=True).task_id
    told = []
    for how in ({"num_threads": 2}, {"backend": "inline", "compiled": False}):
        config = {"num_envs": 2, "seed": [3, 6], "autoreset_mode": mode, "env_kwargs": {"late": late}, **how}
        with envpool_wrap.make(task, "gym", **config) as pool:
            pool.reset()
            with pytest.raises(EnvError) as caught:
                for _ in range(10):
                    pool.step([1, 0])
            errors = [(one.env_id, one.hook, one.elapsed_step, one.action) for one in caught.value.errors]
            told.append((errors, caught.value.result, pool.step([1, 1]), pool.stats()["steps"]))
    assert told[0][0] == told[1][0]
    assert told[0][0][0][3] is None, "a reset has no action"
    assert_same(told[0][1:], told[1][1:])


def test_each_of_many_that_raise_at_once_is_told_with_its_own_arguments(home: Any) -> None:
    task = CppWrapperGenerator.generate_envpool_wrap(Relapsing, compiled=True).task_id
    with envpool_wrap.make(task, "gym", num_envs=3000, num_threads=2) as pool:
        pool.reset()
        with pytest.raises(EnvError) as caught:
            pool.reset()
    told = [one.exception.args for one in caught.value.errors]
    assert told == [("no second life", env) for env in range(3000)]


def test_batches_whose_failures_cannot_be_told_are_not_kept(make: Any, monkeypatch: Any) -> None:
    def interrupted(address: int) -> BaseException:
        raise KeyboardInterrupt

    monkeypatch.setattr("envpool_wrap.kernels.decode", interrupted)
    pool = make(backend="inline")
    pool.reset()
    for _ in range(20):
        with pytest.raises(KeyboardInterrupt):
            pool.step(np.full(FEW, RAISE))
        pool.step(np.zeros(FEW, int))
    assert pool.stats()["batches_touched"] <= 3


def test_restart_begins_anew_and_gives_up_after_max_restarts(make: Any) -> None:
    pool = make(num_envs=2, on_error="restart", max_restarts=2)
    pool.reset()
    for _ in range(2):
        assert pool.step([0, RAISE])[3].tolist() == [False, True]
        assert pool.step([0, 0])[0][1, :2].tolist() == [43, 1], "a new env, seeded, whose first reset this is"
    with pytest.raises(EnvError, match="action two"):
        pool.step([0, RAISE])
    assert pool.stats()["restarts"] == [0, 2]


def test_a_constructor_that_raises_says_which_env(make: Any) -> None:
    with pytest.raises(EnvError, match="no such env") as caught:
        make(env_kwargs=lambda env_id: {"fail": env_id == 3})
    assert (caught.value.errors[0].env_id, caught.value.errors[0].hook) == (3, "__init__")


# ---- bad input ----


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"backend": "process"}, "compiled=False"),
        ({"compiled": "yes"}, "expected one of 'auto', True, False"),
    ],
)
def test_settings_that_cannot_be(make: Any, config: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(**config)


def test_compiled_is_asked_of_a_module_without_compiled_hooks(task_id: Any) -> None:
    with pytest.raises(ConfigError, match="generate it with"):
        envpool_wrap.make(task_id(Counting), "gym", compiled=True)


@pytest.mark.parametrize(
    ("actions", "ids", "told"),
    [
        (np.zeros(FEW - 1, int), None, "one row per env"),
        (np.full(FEW, 3), None, "3 for env 0 is out of range"),
        (np.array([0, -1]), [4, 6], "-1 for env 6 is out of range"),
        (np.zeros(2, int), [4, FEW], "out of range"),
        (np.zeros(2, int), [4, 4], "there twice"),
    ],
)
def test_wrong_actions_send_nothing(make: Any, actions: Any, ids: Any, told: str) -> None:
    pool = make()
    pool.reset()
    with pytest.raises(ActionError, match=told):
        pool.step(actions, ids)
    assert pool.step(np.zeros(FEW, int))[4]["elapsed_step"].tolist() == [1] * FEW


def test_reset_options_are_refused(make: Any) -> None:
    pool = make()
    with pytest.raises(ActionError, match="takes no options"):
        pool.reset(options={"level": 1})


def test_a_closed_pool_and_one_in_use_say_so(make: Any) -> None:
    pool = make(num_threads=2)
    pool.reset()
    pool.send(np.zeros(FEW, int))
    with pytest.raises(PendingCallError):
        pool.step(np.zeros(FEW, int))
    with pytest.raises(PendingCallError, match="in flight"):
        pool.get_attr("x")
    pool.recv()
    pool.close()
    pool.close()
    with pytest.raises(PoolClosedError):
        pool.step(np.zeros(FEW, int))


def test_a_timeout_loses_nothing(make: Any) -> None:
    pool = make(num_envs=2, timeout=0.05, env_kwargs=[{"slow": 0}, {"slow": 100_000_000}])
    with pytest.raises(PoolTimeout, match="Nothing is lost"):
        pool.reset()
        pool.step(np.zeros(2, int))
    pool._timeout = 60
    assert pool.recv()[4]["elapsed_step"].tolist() == [1, 1]


class Forgetful(Drift):
    """Declares what it never sets."""

    state_envpool: ClassVar[dict[str, Any]] = {"lost": np.float64}

    def _step_envpool(self, action: Any) -> None:
        self.x += self.lost


def test_a_field_that_nobody_sets_is_found_by_check(home: Any) -> None:
    task = CppWrapperGenerator.generate_envpool_wrap(Forgetful, compiled=True).task_id
    lost = pytest.raises(SpecError, match=r"Forgetful declares lost .* set it")
    with envpool_wrap.make(task, "gym", check=True) as pool, lost:
        pool.reset()


# ---- what Python sees of an env ----


def test_call_get_attr_set_attr_and_render_see_the_state(make: Any) -> None:
    pool = make(env_kwargs=lambda env_id: {"ends_after": 10 + env_id})
    pool.reset()
    obs = pool.step(np.ones(FEW, int))[0]
    assert pool.get_attr("x") == obs[:, 3].tolist()
    assert pool.get_attr("ends_after", [3, 1]) == [13, 11]
    assert pool.call("where", 2.0, env_id=[6]) == [obs[6, 3] * 2]
    assert pool.render([0, 1]).shape == (2, 2, 2, 3)
    pool.set_attr("drag", 0.0, env_id=2)
    after = pool.step(np.ones(FEW, int))[0]
    assert after[2, 3] == 1
    assert (after[[0, 1, 3, 4, 5, 6], 3] != 1).all()
    with pytest.raises(ActionError, match=r"know nothing of 'colour'.*id, seed, resets"):
        pool.set_attr("colour", 1)


# ---- states ----


def test_a_saved_state_goes_on_as_it_would_have(make: Any) -> None:
    pool = make(max_episode_steps=6, num_threads=2)
    pool.reset()
    rng = np.random.default_rng(3)
    actions = rng.integers(0, 2, (30, FEW))
    for row in actions[:10]:
        pool.step(row)
    saved = pool.save_state()
    there = [pool.step(row) for row in actions[10:]]
    pool.load_state(saved)
    again = [pool.step(row) for row in actions[10:]]
    assert_same(there, again)
    other = make(max_episode_steps=6, backend="inline", seed=5)
    other.load_state(saved)
    assert_same(there, [other.step(row) for row in actions[10:]])


def test_one_state_is_cloned_into_many(make: Any) -> None:
    pool = make(num_envs=64, env_kwargs={"ends_after": 50})
    pool.reset()
    for step in range(5):
        pool.step(np.arange(64) % 2 * (step % 2))
    pool.load_state(pool.save_state([9]))
    obs, reward, *_ = pool.step(np.zeros(64, int))
    assert (obs == obs[9]).all()
    assert (reward == reward[9]).all()
    pool.load_state(pool.save_state([1])[0], env_id=[3, 4])
    assert pool.get_attr("x", [3])[0] == pool.get_attr("x", [1])[0]


def test_a_state_that_is_none_is_refused(make: Any) -> None:
    pool = make()
    pool.reset()
    for wrong in (np.zeros(FEW), pool.save_state([1, 2]), None):
        with pytest.raises(ActionError, match="expected what save_state"):
            pool.load_state(wrong)
    pool.step(np.zeros(FEW, int))


def test_states_of_interpreted_envs_cannot_be_saved(make: Any) -> None:
    pool = make(compiled=False, backend="inline")
    with pytest.raises(ConfigError, match="only compiled hooks"):
        pool.save_state()


# ---- advice ----


class Calm(Drift):
    """Takes no action that raises."""

    action_space = spaces.Discrete(2)


def test_tune_tries_what_compiled_hooks_run_on(home: Any) -> None:
    task = CppWrapperGenerator.generate_envpool_wrap(Calm, compiled=True).task_id
    (contest,) = envpool_wrap.tune(task, num_envs=8, seconds=0.3).recording.contests
    assert {trial.settings["backend"] for trial in contest.trials} == {"inline", "thread"}
    assert not any(trial.failure for trial in contest.trials)
    assert contest.auto.startswith("thread")


# ---- size ----


def test_a_hundred_thousand_envs_in_one_pool(make: Any) -> None:
    pool = make(num_envs=100_000)
    pool.reset()
    actions = np.arange(100_000) % 2
    for _ in range(4):
        obs, _, terminated, _, info = pool.step(actions)
    assert info["env_id"].tolist() == list(range(100_000))
    assert (obs[:, 2] == 4).all()
    assert terminated.nonzero()[0].tolist() == list(range(0, 100_000, 3))[: terminated.sum()]
