"""The plain Python loop that pools are compared with: what one would write without a pool."""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envpool_protocol.descriptions import Description, close_env
from envpool_protocol.seeding import seed_env
from envpool_protocol.spec import EnvSpec
from envpool_wrap.config import PoolConfig, seeds_of
from envpool_wrap.nested import builder, flattener
from envpool_wrap.tuning.meters import times_interrupted

Step = Callable[[Any], tuple[Any, Any, Any, Any, Any]]  # action → obs, reward, terminated, truncated, info


class Loop:
    """Steps envs of any kind one after the other, and writes what they return into arrays made once.

    As in a pool's next-step mode, the step after an episode's end is a reset, whose action is ignored.

    Attributes:
        envs: the envs.
        obs, reward, terminated, truncated: what the last step brought, a row per env; a list of the leaves of
            the observation.
        first_obs: what the last `reset` got from env 0.
    """

    def __init__(self, make_env: Callable[[int], Any], description: Description, config: PoolConfig) -> None:
        self._spec, self._seeds = description.spec, seeds_of(config.seed, config.num_envs)
        self.first_obs: Any = None
        self.envs: list[Any] = []
        try:
            for env_id in range(config.num_envs):
                self.envs.append(make_env(env_id))
        except BaseException:
            self.close()
            raise
        leaves = [leaf.element for leaf in self._spec.obs.leaves]
        self.obs = [np.zeros((config.num_envs, *shape), dtype) for dtype, shape in leaves]
        self._put = self._putter(self.obs)
        self.reward = np.zeros(config.num_envs, self._spec.reward.numpy)
        self.terminated = np.zeros(config.num_envs, bool)
        self.truncated = np.zeros(config.num_envs, bool)
        self._over = [False] * config.num_envs
        limit = config.max_episode_steps
        self._steps = [_STEPS[self._spec.api](env, self._spec) for env in self.envs]
        if limit is not None:
            self._steps = [_limited(step, limit) for step in self._steps]
        self._observe = _observer(self._spec)
        called_by_name = self._spec.api == "hooks" and limit is None and not self._spec.obs_takes_out
        self.step: Callable[[Sequence[Any]], None] = self._step_hooks if called_by_name else self._step_any

    def reset(self) -> list[int]:
        """Seed all envs and start their episodes. The nanoseconds that each reset took."""
        taken = []
        for i, (env, seed) in enumerate(zip(self.envs, self._seeds, strict=True)):
            with _telling(i):
                start = time.perf_counter_ns()
                obs = self._seeded_reset(env, seed)
                taken.append(time.perf_counter_ns() - start)
                self._put(i, obs)
            if i == 0:
                self.first_obs = obs
        self._over = [False] * len(self.envs)
        return taken

    def timed_step(self, actions: Sequence[Any]) -> tuple[list[int], list[bool]]:
        """`step`, with the nanoseconds that each env took, and whether they were those of a reset.

        Where another program took the core meanwhile, they are those that this thread had it.
        """
        was_over, taken = list(self._over), []
        for i, (step, action) in enumerate(zip(self._steps, actions, strict=True)):
            with _telling(i):
                interruptions, cpu = times_interrupted(), time.thread_time_ns()
                start = time.perf_counter_ns()
                if was_over[i]:
                    obs, over = self._reset(self.envs[i]), False
                else:
                    obs, _, terminated, truncated, _ = step(action)
                    over = bool(terminated or truncated)
                wall = time.perf_counter_ns() - start
                cpu = time.thread_time_ns() - cpu
                taken.append(wall if times_interrupted() == interruptions else min(wall, cpu))
                self._put(i, obs)
                self._over[i] = over
        return taken, was_over

    def stepper(self, env_id: int, actions: Sequence[Any]) -> Callable[[int], None]:
        """A function that steps one env so many times, through resets, and does nothing else."""
        env, step, reset = self.envs[env_id], self._steps[env_id], self._reset
        at = 0

        def run(times: int) -> None:
            nonlocal at
            for _ in range(times):
                at = (at + 1) % len(actions)
                _, _, terminated, truncated, _ = step(actions[at])
                if terminated or truncated:
                    reset(env)

        reset(env)
        return run

    def close(self) -> None:
        """Close all envs. What one of them raises does not keep the others open."""
        for env in self.envs:
            with contextlib.suppress(Exception):
                close_env(env)

    def _putter(self, arrays: list[Any]) -> Callable[[int, Any], None]:
        if self._spec.obs.single:
            put: Callable[[int, Any], None] = arrays[0].__setitem__
            return put
        flatten = flattener(self._spec.obs)

        def put_leaves(i: int, obs: Any) -> None:
            for array, leaf in zip(arrays, flatten(obs), strict=True):
                array[i] = leaf

        return put_leaves

    def _step_any(self, actions: Sequence[Any]) -> None:
        put, over = self._put, self._over
        reward, all_terminated, all_truncated = self.reward, self.terminated, self.truncated
        for i, step in enumerate(self._steps):
            if over[i]:
                put(i, self._reset(self.envs[i]))
                reward[i] = 0.0
                all_terminated[i] = all_truncated[i] = over[i] = False
                continue
            obs, reward[i], terminated, truncated, _ = step(actions[i])
            put(i, obs)
            all_terminated[i], all_truncated[i] = terminated, truncated
            over[i] = terminated or truncated

    def _step_hooks(self, actions: Sequence[Any]) -> None:
        """As `_step_any`, the hooks called by name: a function around them could cost a tenth."""
        put, over = self._put, self._over
        reward, all_terminated, all_truncated = self.reward, self.terminated, self.truncated
        has_truncated, has_info = self._spec.has_truncated, self._spec.has_info
        for i, env in enumerate(self.envs):
            if over[i]:
                put(i, self._reset(env))
                reward[i] = 0.0
                all_terminated[i] = all_truncated[i] = over[i] = False
                continue
            env._step_envpool(actions[i])
            put(i, env._make_obs_envpool())
            all_terminated[i] = terminated = env._done_envpool()
            all_truncated[i] = truncated = env._truncated_envpool() if has_truncated else False
            reward[i] = env._reward_envpool()
            if has_info:
                env._info_envpool()
            over[i] = terminated or truncated

    def _reset(self, env: Any) -> Any:
        """The first observation of the next episode."""
        api = self._spec.api
        if api == "hooks":
            env._reset_envpool()
            return self._observe(env)
        return self._obs_of(env.reset())

    def _seeded_reset(self, env: Any, seed: int | None) -> Any:
        if seed is None:
            return self._reset(env)
        if self._spec.api == "hooks":
            env._seed_envpool(seed)
            return self._reset(env)
        if self._spec.reset_takes_seed:
            return self._obs_of(env.reset(seed=seed))
        if self._spec.api != "gymnasium":
            seed_env(env, seed)
        return self._reset(env)

    def _obs_of(self, result: Any) -> Any:
        """Out of what `reset` returned."""
        if self._spec.api == "dm_env":
            return result.observation
        if self._spec.api == "gymnasium" or self._is_pair(result):
            return result[0]
        return result

    def _is_pair(self, result: Any) -> bool:
        """Whether old gym's reset returned (obs, info), and not an observation that looks like it."""

        def pair(value: Any) -> bool:
            return isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict)

        return pair(result) and (not self._spec.obs_is_pair or pair(result[0]))


@contextlib.contextmanager
def _telling(env_id: int) -> Any:
    """What an env raises says which one it was, and on which actions."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in env {env_id}, stepped in a plain loop with random samples of its action space")
        raise


def _observer(spec: EnvSpec) -> Callable[[Any], Any]:
    """`observe(env)`: what its `_make_obs_envpool` returns, or writes into arrays made for it."""
    if not spec.obs_takes_out:
        return operator.methodcaller("_make_obs_envpool")
    build, elements = builder(spec.obs), [leaf.element for leaf in spec.obs.leaves]

    def observe(env: Any) -> Any:
        out = build([np.empty(shape, dtype) for dtype, shape in elements])
        obs = env._make_obs_envpool(out)
        return out if obs is None else obs

    return observe


def _hooks(env: Any, spec: EnvSpec) -> Step:
    observe = _observer(spec)

    def step(action: Any) -> tuple[Any, Any, Any, Any, Any]:
        env._step_envpool(action)
        obs, terminated = observe(env), env._done_envpool()
        truncated = env._truncated_envpool() if spec.has_truncated else False
        reward = env._reward_envpool()
        return obs, reward, terminated, truncated, env._info_envpool() if spec.has_info else {}

    return step


def _gymnasium(env: Any, spec: EnvSpec) -> Step:
    step: Step = env.step
    return step


def _gym(env: Any, spec: EnvSpec) -> Step:
    def step(action: Any) -> tuple[Any, Any, Any, Any, Any]:
        result: tuple[Any, ...] = env.step(action)
        if len(result) == 5:
            return result
        obs, reward, done, info = result
        cut = bool(done and info.get("TimeLimit.truncated", False))
        return obs, reward, done and not cut, cut, info

    return step


def _dm_env(env: Any, spec: EnvSpec) -> Step:
    def step(action: Any) -> tuple[Any, Any, Any, Any, Any]:
        result = env.step(action)
        last = result.last()
        terminated = last and result.discount == 0
        return result.observation, result.reward, terminated, last and not terminated, {}

    return step


_STEPS: dict[str, Callable[[Any, EnvSpec], Step]] = {
    "hooks": _hooks,
    "gymnasium": _gymnasium,
    "gym": _gym,
    "dm_env": _dm_env,
}


def _limited(step: Step, limit: int) -> Step:
    """`step`, whose episodes are cut after `limit` steps."""
    done = 0

    def limited(action: Any) -> tuple[Any, Any, Any, Any, Any]:
        nonlocal done
        obs, reward, terminated, truncated, info = step(action)
        done += 1
        truncated = truncated or done >= limit
        if terminated or truncated:
            done = 0
        return obs, reward, terminated, truncated, info

    return limited
