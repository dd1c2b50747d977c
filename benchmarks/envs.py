"""The envs that are measured. A step's cost is a count of operations or bytes, never a clock."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from envpool_protocol import EnvPoolProtocol


class Noop(EnvPoolProtocol):
    """Does nothing: what is left is the cost of the pool and of five Python calls."""

    def __init__(self, envid: int) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.obs = np.zeros(4, np.float32)

    def _reset_envpool(self) -> None:
        pass

    def _step_envpool(self, action: Any) -> None:
        pass

    def _make_obs_envpool(self) -> Any:
        return self.obs

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return 1.0


class CartPole(EnvPoolProtocol):
    """Gymnasium's CartPole, bare: a few microseconds of Python and NumPy."""

    def __init__(self, envid: int) -> None:
        self.env = CartPoleEnv()
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self.env.reset(seed=envid)

    def _reset_envpool(self) -> None:
        self.obs, _ = self.env.reset()
        self.terminated = False

    def _step_envpool(self, action: Any) -> None:
        self.obs, self.reward, self.terminated, _, _ = self.env.step(action)

    def _make_obs_envpool(self) -> Any:
        return self.obs

    def _done_envpool(self) -> bool:
        return self.terminated

    def _reward_envpool(self) -> float:
        return self.reward


class Spin(Noop):
    """Pure Python that holds the GIL: a loop of fixed length, about 100 µs."""

    ROUNDS = 2500

    def _step_envpool(self, action: Any) -> None:
        total = 0
        for i in range(self.ROUNDS):
            total += i & 7
        self.total = total


class Release(Noop):
    """Work that releases the GIL: SHA-256 of 183 kB, about 100 µs."""

    DATA = bytes(183_000)

    def _step_envpool(self, action: Any) -> None:
        self.digest = hashlib.sha256(self.DATA).digest()


ENVS = {"noop": Noop, "cartpole": CartPole, "spin100": Spin, "release100": Release}
