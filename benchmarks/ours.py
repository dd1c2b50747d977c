"""Our pools: one contender per backend, and two as Stable-Baselines3 sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.contender import Contender, Rows
from benchmarks.envs import Env
from benchmarks.peers import SB3Dummy


class Ours(Contender):
    """A pool with the gym face."""

    backend: ClassVar[str]

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        import envpool_wrap
        from envpool_protocol import EnvManager

        EnvManager.register_env(env.source)
        return envpool_wrap.make(env.task_id, "gym", num_envs=num_envs, **self.settings(workers))

    def settings(self, workers: int) -> dict[str, Any]:
        """Of the pool, besides the number of envs."""
        return {"backend": self.backend, "num_threads": workers}


class Inline(Ours):
    """In the caller's thread."""

    backend = "inline"

    def settings(self, workers: int) -> dict[str, Any]:
        return {"backend": self.backend}


class Thread(Ours):
    """C++ threads, the caller among them."""

    backend = "thread"


class Process(Ours):
    """The caller and child processes."""

    backend = "process"


class Async(Ours):
    """Child processes; each step returns the half of the envs that finish first."""

    backend = "process"
    only = ("uneven",)

    def __init__(self, env: Env, num_envs: int, workers: int) -> None:
        super().__init__(env, num_envs, workers)
        self.ids = np.arange(0)

    @property
    def rows(self) -> int:
        return max(1, self.num_envs // 2)

    @property
    def due(self) -> NDArray[Any]:
        return self.ids

    def settings(self, workers: int) -> dict[str, Any]:
        return {**super().settings(workers), "batch_size": self.rows}

    def reset(self) -> Any:
        self.envs.async_reset()
        return self._recv()

    def stepper(self) -> Callable[[Any], Any]:
        def step(actions: Any) -> Any:
            self.envs.send(actions[self.ids], self.ids)
            return self._recv()

        return step

    def read(self, returned: Any) -> Rows:
        obs, reward, terminated, truncated, _ = returned
        return Rows(self.ids, obs, reward, terminated, truncated)

    def _recv(self) -> Any:
        received = self.envs.recv()
        self.ids = received[-1]["env_id"]
        return received


class SB3Inline(SB3Dummy):
    """A pool as Stable-Baselines3's VecEnv, in the caller's thread."""

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        from envpool_protocol import EnvManager
        from envpool_wrap.integrations.sb3 import SB3VecEnv

        EnvManager.register_env(env.source)
        return SB3VecEnv(env.task_id, num_envs=num_envs, **self.settings(workers))

    def settings(self, workers: int) -> dict[str, Any]:
        """Of the pool, besides the number of envs."""
        return {"backend": "inline"}


class SB3Process(SB3Inline):
    """The same with the caller and child processes."""

    def settings(self, workers: int) -> dict[str, Any]:
        return {"backend": "process", "num_threads": workers}
