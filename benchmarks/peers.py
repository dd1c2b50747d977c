"""Other libraries, each used as its documentation says. They are imported when one is made, never before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from benchmarks.contender import Contender, Rows, creators
from benchmarks.envs import Env
from benchmarks.loop import Loop


class GymnasiumSync(Contender):
    """Gymnasium's SyncVectorEnv: a loop in the caller."""

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        from gymnasium.vector import SyncVectorEnv

        return SyncVectorEnv(creators(env, num_envs))


class GymnasiumAsync(Contender):
    """Gymnasium's AsyncVectorEnv: a process per env, obs in shared memory."""

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        from gymnasium.vector import AsyncVectorEnv

        return AsyncVectorEnv(creators(env, num_envs), shared_memory=True)


class EnvPool(Contender):
    """EnvPool's own CartPole, in C++. It has a generator of its own, so only its form can be checked."""

    needs = "envpool"
    same_envs = False
    only = ("cartpole",)

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        import envpool

        return envpool.make("CartPole-v1", "gymnasium", num_envs=num_envs, num_threads=workers)


class SB3Dummy(Contender):
    """Stable-Baselines3's DummyVecEnv: a loop in the caller."""

    needs = "stable_baselines3"
    autoreset = "same_step"

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        from stable_baselines3.common.vec_env import DummyVecEnv

        return DummyVecEnv(creators(env, num_envs))

    def read(self, returned: Any) -> Rows:
        if isinstance(returned, np.ndarray):
            return Rows(self.due, returned)
        obs, reward, done, infos = returned
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        return Rows(self.due, obs, reward, done & ~truncated, truncated)


class SB3Subproc(SB3Dummy):
    """Stable-Baselines3's SubprocVecEnv: a process per env."""

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        from stable_baselines3.common.vec_env import SubprocVecEnv

        return SubprocVecEnv(creators(env, num_envs), start_method="fork")


class Tianshou(Contender):
    """tianshou's ShmemVectorEnv: a process per env, obs in shared memory. The caller resets finished envs."""

    needs = "tianshou"
    autoreset = "same_step"

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        from tianshou.env import ShmemVectorEnv

        return ShmemVectorEnv(creators(env, num_envs))

    def stepper(self) -> Callable[[Any], Any]:
        def step(actions: Any) -> Any:
            obs, reward, terminated, truncated, info = self.envs.step(actions)
            over = np.flatnonzero(terminated | truncated)
            if len(over):
                obs[over], _ = self.envs.reset(over)
            return obs, reward, terminated, truncated, info

        return step


class TorchRL(Contender):
    """torchrl's ParallelEnv: a process per env, tensors in shared memory."""

    needs = "torchrl"
    autoreset = "same_step"

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        from torchrl.envs import GymWrapper, ParallelEnv

        def wrap(create: Callable[[], Any]) -> Any:
            return GymWrapper(create(), categorical_action_encoding=True)

        wrapped = [functools.partial(wrap, create) for create in creators(env, num_envs)]
        return ParallelEnv(num_envs, wrapped, mp_start_method="fork")

    def reset(self) -> Any:
        self.state = self.envs.reset()

    def stepper(self) -> Callable[[Any], Any]:
        import torch

        def step(actions: Any) -> Any:
            self.state["action"] = torch.as_tensor(actions)
            stepped, self.state = self.envs.step_and_maybe_reset(self.state)
            return stepped

        return step

    def read(self, returned: Any) -> Rows:
        obs = self.state["observation"].numpy()  # after the reset, where there was one
        if returned is None:
            return Rows(self.due, obs)
        leaves = (returned["next", name].numpy()[:, 0] for name in ("reward", "terminated", "truncated"))
        return Rows(self.due, obs, *leaves)


class Ray(Contender):
    """Ray actors, each with its share of the envs in a plain loop."""

    needs = "ray"
    autoreset = "same_step"

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        import ray

        ray.init(num_cpus=workers, include_dashboard=False, configure_logging=False)
        shares = np.array_split(np.arange(num_envs), min(workers, num_envs))
        self.parts = [slice(share[0], share[-1] + 1) for share in shares]
        actor: Any = ray.remote(_Share)
        self.actors = [actor.remote(env, range(part.start, part.stop), self.autoreset) for part in self.parts]
        return ray

    def reset(self) -> Any:
        return self._joined([actor.reset.remote() for actor in self.actors])

    def stepper(self) -> Callable[[Any], Any]:
        def step(actions: Any) -> Any:
            shares = zip(self.actors, self.parts, strict=True)
            return self._joined([actor.step.remote(actions[part]) for actor, part in shares])

        return step

    def read(self, returned: Any) -> Rows:
        return Rows(self.due, *returned)

    def close(self) -> None:
        self.envs.shutdown()

    def _joined(self, sent: Any) -> Any:
        return [np.concatenate(leaf) for leaf in zip(*self.envs.get(sent), strict=True)]


class _Share:
    """What an actor does."""

    def __init__(self, env: Env, ids: range, autoreset: str) -> None:
        self.loop = Loop(env, ids, autoreset)

    def reset(self) -> Any:
        self.loop.reset()
        return (self.loop.obs,)

    def step(self, actions: Any) -> Any:
        self.loop.step(actions)
        return self.loop.obs, self.loop.reward, self.loop.terminated, self.loop.truncated


class PufferSerial(Contender):
    """PufferLib's Serial: a loop in the caller."""

    needs = "pufferlib"
    backend: ClassVar[str] = "Serial"

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        import pufferlib.emulation
        import pufferlib.vector

        wrap = pufferlib.emulation.GymnasiumPufferEnv
        wrapped = [functools.partial(wrap, env_creator=create) for create in creators(env, num_envs)]
        settings = {"backend": self.backend, "num_envs": num_envs, **self.settings(workers)}
        return pufferlib.vector.make(wrapped, [()] * num_envs, [{}] * num_envs, **settings)

    def settings(self, workers: int) -> dict[str, Any]:
        """Of the backend."""
        return {}


class Puffer(PufferSerial):
    """PufferLib's Multiprocessing."""

    backend = "Multiprocessing"
    restless = True

    def settings(self, workers: int) -> dict[str, Any]:
        return {"num_workers": workers, "overwork": True}


class PufferOne(Puffer):
    """PufferLib's Multiprocessing with one worker, since it and the caller keep two cores busy."""

    def settings(self, workers: int) -> dict[str, Any]:
        return super().settings(1)
