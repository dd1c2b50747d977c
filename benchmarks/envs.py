"""The envs that are measured: our own as hooks, for our pools, and as gymnasium envs, for everybody else.

Both forms do the same work; Gymnasium's own envs are gymnasium envs for all. A step's cost is a count of
operations or bytes, never a clock. Whatever is random depends on the env's number only, so every contender
steps the same trajectories.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envpool_protocol import EnvPoolProtocol

ACTION_BATCHES = 64  # drawn beforehand, used again and again


class Noop(EnvPoolProtocol, gymnasium.Env[Any, Any]):  # type: ignore[misc]  # both have _np_random
    """Does almost nothing: what is left is the cost of the calls, and of an obs that is made anew.

    Reward and obs[0] count the steps, the rest of obs is the env's number: a lost, doubled or swapped row
    shows.
    """

    observation_space: Any = spaces.Box(0, np.inf, (4,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, envid: int) -> None:
        space = self.observation_space
        self.obs = np.full(space.shape, envid % 256, space.dtype)
        self.count = 0.0

    def _seed_envpool(self, seed: int) -> None:
        pass

    def _reset_envpool(self) -> None:
        pass

    def _step_envpool(self, action: Any) -> None:
        self.count += 1.0

    def _make_obs_envpool(self) -> Any:
        self.obs[0] = self.count
        return self.obs.copy()

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return self.count

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return self._make_obs_envpool(), {}

    def step(self, action: Any) -> Any:
        self.count += 1.0
        self.obs[0] = self.count
        return self.obs.copy(), self.count, False, False, {}


class Pixels(Noop):
    """An obs of 28 kB, always the same array, and no work."""

    observation_space = spaces.Box(0, 255, (4, 84, 84), np.uint8)

    def _make_obs_envpool(self) -> Any:
        return self.obs

    def step(self, action: Any) -> Any:
        self.count += 1.0
        return self.obs, self.count, False, False, {}


class Busy(Noop):
    """Works in each step."""

    def work(self) -> None:
        raise NotImplementedError

    def _step_envpool(self, action: Any) -> None:
        self.work()
        self.count += 1.0

    def step(self, action: Any) -> Any:
        self.work()
        return super().step(action)


class Spin(Busy):
    """Pure Python that holds the GIL: a loop of fixed length, about 100 µs."""

    ROUNDS = 2500

    def work(self) -> None:
        spin(self.ROUNDS)


class Release(Busy):
    """Work that releases the GIL: SHA-256 of 183 kB, about 100 µs."""

    DATA = bytes(183_000)

    def work(self) -> None:
        hashlib.sha256(self.DATA).digest()


class Uneven(Busy):
    """Pure Python with a heavy tail: log-normal lengths (sigma 1.4), on average those of Spin."""

    def __init__(self, envid: int) -> None:
        super().__init__(envid)
        lengths = np.random.default_rng(envid).lognormal(sigma=1.4, size=1024)
        self.rounds = itertools.cycle((lengths * (Spin.ROUNDS / lengths.mean())).astype(int).tolist())

    def work(self) -> None:
        spin(next(self.rounds))


def spin(rounds: int) -> int:
    """A loop of `rounds` additions."""
    total = 0
    for i in range(rounds):
        total += i & 7
    return total


def cartpole(envid: int) -> gymnasium.Env[Any, Any]:
    """Gymnasium's CartPole, bare: a few microseconds of Python and NumPy."""
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    return seeded(CartPoleEnv(), envid)


def half_cheetah(envid: int) -> gymnasium.Env[Any, Any]:
    """Gymnasium's HalfCheetah-v5, bare: MuJoCo, about 40 µs."""
    from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

    return seeded(HalfCheetahEnv(), envid)


def seeded(env: gymnasium.Env[Any, Any], seed: int) -> gymnasium.Env[Any, Any]:
    """The env with this seed for good: whatever seeds a library gives it later are ignored."""
    env.reset(seed=seed)
    reset = env.reset
    env.reset = lambda *, seed=None, options=None: reset()  # type: ignore[method-assign]
    return env


class Bytes16(Pixels):
    """As Pixels, with 16 B. Its subclasses differ in nothing else: the difference is what the bytes cost."""

    observation_space = spaces.Box(0, 255, (16,), np.uint8)


class Bytes256(Bytes16):
    observation_space = spaces.Box(0, 255, (256,), np.uint8)


class Bytes4k(Bytes16):
    observation_space = spaces.Box(0, 255, (4096,), np.uint8)


class Bytes64k(Bytes16):
    observation_space = spaces.Box(0, 255, (65_536,), np.uint8)


class Bytes1M(Bytes16):
    observation_space = spaces.Box(0, 255, (1_048_576,), np.uint8)


@dataclass(frozen=True)
class Env:
    """Both forms of an env.

    Attributes:
        source: what our pools step: a class with hooks, or `as_gymnasium` itself.
        as_gymnasium: makes the env of a given number, for everybody else.
        needs: the module that has to be installed.
    """

    source: Callable[[int], Any]
    as_gymnasium: Callable[[int], Any]
    needs: str = "gymnasium"

    @property
    def task_id(self) -> str:
        """The name to make a pool by."""
        return f"{self.source.__name__}_wrap"

    @property
    def has_hooks(self) -> bool:
        """Whether `source` is a class with hooks."""
        return isinstance(self.source, type)

    def actions(self, num_envs: int) -> NDArray[Any]:
        """Random actions: (batches, num_envs, *action shape), of the action space's dtype."""
        space = self.as_gymnasium(0).action_space
        random = np.random.default_rng(0)
        shape = (ACTION_BATCHES, num_envs, *space.shape)
        if isinstance(space, spaces.Discrete):
            return random.integers(space.n, size=shape)
        return random.uniform(space.low, space.high, shape).astype(space.dtype)


ENVS = {
    "noop": Env(Noop, Noop),
    "pixels": Env(Pixels, Pixels),
    "cartpole": Env(cartpole, cartpole),
    "spin100": Env(Spin, Spin),
    "release100": Env(Release, Release),
    "uneven": Env(Uneven, Uneven),
    "halfcheetah": Env(half_cheetah, half_cheetah, needs="mujoco"),
}
# By the size of their obs in bytes: for growth only.
OF_SIZE = {
    int(np.prod(cls.observation_space.shape)): cls for cls in (Bytes16, Bytes256, Bytes4k, Bytes64k, Bytes1M)
}
ENVS |= {f"obs{size}": Env(cls, cls) for size, cls in OF_SIZE.items()}
