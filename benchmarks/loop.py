"""The plain Python loop that everything is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.envs import Env


class Loop:
    """Steps gymnasium envs one after the other, and writes obs, reward and flags into arrays made once.

    Args:
        env: which env.
        ids: the numbers of the envs.
        autoreset: when a finished env is reset: in the `"same_step"`, or in the `"next_step"`, whose action
            is then ignored and whose reward is 0. As the contender does: the work has to be the same.
    """

    def __init__(self, env: Env, ids: range, autoreset: str) -> None:
        self.envs = [env.as_gymnasium(i) for i in ids]
        space = self.envs[0].observation_space
        self.obs = np.zeros((len(ids), *space.shape), space.dtype)
        self.reward = np.zeros(len(ids), np.float32)
        self.terminated = np.zeros(len(ids), bool)
        self.truncated = np.zeros(len(ids), bool)
        self.over = [False] * len(ids)
        self.step = {"same_step": self._same_step, "next_step": self._next_step}[autoreset]

    def reset(self) -> None:
        """Start all episodes."""
        for i, env in enumerate(self.envs):
            self.obs[i], _ = env.reset()
            self.over[i] = False

    def _same_step(self, actions: Any) -> None:
        for i, env in enumerate(self.envs):
            obs, reward, terminated, truncated, _ = env.step(actions[i])
            if terminated or truncated:
                obs, _ = env.reset()
            self.obs[i] = obs
            self.reward[i] = reward
            self.terminated[i] = terminated
            self.truncated[i] = truncated

    def _next_step(self, actions: Any) -> None:
        for i, env in enumerate(self.envs):
            if self.over[i]:
                obs, _ = env.reset()
                reward, terminated, truncated = 0.0, False, False
                self.over[i] = False
            else:
                obs, reward, terminated, truncated, _ = env.step(actions[i])
                if terminated or truncated:
                    self.over[i] = True
            self.obs[i] = obs
            self.reward[i] = reward
            self.terminated[i] = terminated
            self.truncated[i] = truncated
