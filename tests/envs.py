"""The envs of the tests. They count, so a lost, doubled or swapped step shows in the numbers.

Each distinct class costs a compilation of about five seconds: use one of these before adding another.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from envpool_protocol import EnvPoolProtocol

STEP_HOOKS = [
    "_step_envpool",
    "_make_obs_envpool",
    "_done_envpool",
    "_truncated_envpool",
    "_reward_envpool",
    "_info_envpool",
]


@dataclass(frozen=True)
class Journal:
    """A file to which envs of any process add their ids."""

    path: Path

    def add(self, env_id: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{env_id}\n")

    @property
    def ids(self) -> list[int]:
        return [int(line) for line in self.path.read_text().split()] if self.path.exists() else []


class Counting(EnvPoolProtocol):
    """obs float32 [envid, t, last action], one array; ends after 2 + envid steps; reward 10 t + envid."""

    closes: Journal | None = None

    def __init__(self, envid: int, ends_after: int | None = None, closes: Journal | None = None) -> None:
        self.envid, self.closes = envid, closes
        self.ends_after = 2 + envid if ends_after is None else ends_after
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.called: list[str] = []
        self.t, self.last = 0, 0.0
        self.obs = np.zeros(3, np.float32)

    def _reset_envpool(self) -> None:
        self.called.append("reset")
        self.t, self.last = 0, 0.0

    def _step_envpool(self, action: Any) -> None:
        self.called.append("step")
        self.t, self.last = self.t + 1, float(action[0])

    def _make_obs_envpool(self) -> Any:
        self.called.append("make_obs")
        self.obs[:] = self.envid, self.t, self.last
        return self.obs

    def _done_envpool(self) -> bool:
        self.called.append("done")
        return self.t >= self.ends_after

    def _reward_envpool(self) -> float:
        self.called.append("reward")
        return 10 * self.t + self.envid

    def _render_envpool(self) -> Any:
        return np.full((2, 3, 3), self.envid, np.uint8)

    def _close_envpool(self) -> None:
        if self.closes is not None:
            self.closes.add(self.envid)


def idle_actions(cls: type, rows: int) -> Any:
    """A batch of actions that fits the env class: zeros."""
    return np.zeros((rows, 1), np.float32) if cls is Counting else np.zeros(rows, np.int64)


def until_it_receives(thread: threading.Thread) -> None:
    """Wait until the thread sleeps in a pool's `recv`, for longer than one that awaits the GIL does."""

    def sleeps_in_recv() -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        if frame is None or frame.f_code.co_name != "recv":
            return False
        return Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(") ")[2][0] == "S"

    asleep = 0
    while asleep < 10:
        asleep = asleep + 1 if sleeps_in_recv() else 0
        time.sleep(0.01)


def until(condition: Callable[[], bool]) -> None:
    """Spin until a worker has done its part; pytest-timeout is the net."""
    while not condition():
        threading.Event().wait(0)


GATES = "GATED_ENVS"  # environment variable: the folder of the gates, for all processes of a run


class Gated(EnvPoolProtocol):
    """A step of env i returns only once gate i is open: tests decide who finishes when, without sleeping.

    Works from any process: a gate is a FIFO, and to open one end of it blocks until the other end is open.
    A step rings the bell, which is a FIFO too, before it waits.
    """

    _bells: ClassVar[dict[int, int]] = {}
    _opened: ClassVar[dict[int, int]] = {}

    @classmethod
    def shut(cls, *env_ids: int) -> None:
        """Close the gates of these envs."""
        for env_id in env_ids:
            os.mkfifo(_gate(env_id))
            os.mkfifo(_bell(env_id))
            cls._bells[env_id] = os.open(_bell(env_id), os.O_RDWR)

    @classmethod
    def await_entered(cls, env_id: int) -> None:
        """Wait until this env is inside a step, once per step."""
        assert os.read(cls._bells[env_id], 1) == b"!"

    @classmethod
    def open(cls, *env_ids: int) -> None:
        """Let these envs pass, now and later."""
        for env_id in env_ids:
            if env_id not in cls._opened:
                cls._opened[env_id] = os.open(_gate(env_id), os.O_RDWR)

    @classmethod
    def open_all(cls) -> None:
        """Let all envs pass, for ever."""
        cls.open(*cls._bells)

    @classmethod
    def remove_all(cls) -> None:
        """No gates are left. Only when no env waits."""
        for env_id, bell in cls._bells.items():
            _gate(env_id).unlink()
            _bell(env_id).unlink()
            os.close(bell)
        for gate in cls._opened.values():
            os.close(gate)
        cls._bells.clear()
        cls._opened.clear()

    def __init__(self, envid: int) -> None:
        self.envid, self.t = envid, 0
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Discrete(5, start=-2)
        self.gate, self.bell = str(_gate(envid)), str(_bell(envid))

    def _reset_envpool(self) -> None:
        self.t = 0

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        if os.path.exists(self.gate):
            with open(self.bell, "wb", buffering=0) as bell:
                bell.write(b"!")
            with open(self.gate, "rb", buffering=0):
                pass

    def _make_obs_envpool(self) -> Any:
        return np.array([self.envid, self.t], np.float64)

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return float(self.t)


def _gate(env_id: int) -> Path:
    return Path(os.environ.get(GATES, "."), f"gate-{env_id}")


def _bell(env_id: int) -> Path:
    return Path(os.environ.get(GATES, "."), f"bell-{env_id}")


class Faulty(EnvPoolProtocol):
    """Raises `error` in the hook `fail_in` when the env has taken `fail_at` steps of its episode."""

    def __init__(
        self,
        envid: int,
        fail_in: str = "",
        fail_at: int = 1,
        error: Any = None,
        closes: Journal | None = None,
    ) -> None:
        self.envid, self.t, self.fail_in, self.fail_at = envid, 0, fail_in, fail_at
        self.closes = closes
        self.error = error if error is not None else ValueError(f"env {envid} says no")
        self.observation_space = spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.action_space = spaces.Discrete(3)
        self.options: Any = None
        self.seeds: list[int] = []
        self._maybe_fail("__init__")

    def _maybe_fail(self, hook: str) -> None:
        if self.fail_in == hook and (self.t == self.fail_at or hook in ("__init__", "_reset_envpool")):
            raise self.error

    def _seed_envpool(self, seed: int) -> None:
        self.seeds.append(seed)
        self._maybe_fail("_seed_envpool")

    def _reset_envpool(self, **options: Any) -> None:
        self.t, self.options = 0, options
        self._maybe_fail("_reset_envpool")

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        self._maybe_fail("_step_envpool")

    def _make_obs_envpool(self) -> Any:
        self._maybe_fail("_make_obs_envpool")
        return np.array([self.envid, self.t], np.float32)

    def _done_envpool(self) -> bool:
        self._maybe_fail("_done_envpool")
        return False

    def _truncated_envpool(self) -> bool:
        self._maybe_fail("_truncated_envpool")
        return self.t == 5

    def _reward_envpool(self) -> float:
        self._maybe_fail("_reward_envpool")
        return 1.0

    def _info_envpool(self) -> dict[str, Any]:
        self._maybe_fail("_info_envpool")
        return {"t": self.t, "even": True} if self.t % 2 == 0 else {}

    def _close_envpool(self) -> None:
        if self.closes is not None:
            self.closes.add(self.envid)
        self._maybe_fail("_close_envpool")


_NESTED = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (2, 3, 3), np.uint8),
        "arm": spaces.Tuple(
            (
                spaces.Box(-np.inf, np.inf, (), np.float64),
                spaces.Dict({"grip": spaces.Discrete(4, start=-1), "on": spaces.MultiBinary(3)}),
            )
        ),
        'odd "key" \\ é': spaces.MultiDiscrete([[2, 3], [4, 5]]),
        "half": spaces.Box(-1, 1, (2,), np.float16),
    }
)


class Nested(EnvPoolProtocol):
    """Echoes a nested action as its observation, or returns `self.answer` when a test sets it."""

    def __init__(self, envid: int) -> None:
        self.observation_space = _NESTED
        self.action_space = _NESTED
        self.np_random = np.random.default_rng(envid)
        self.answer: Any = None
        self.action: Any = None
        self.first = _NESTED.sample()

    def _seed_envpool(self, seed: int) -> None:
        pass

    def _reset_envpool(self) -> None:
        self.action = self.first

    def _step_envpool(self, action: Any) -> None:
        self.action = action

    def _make_obs_envpool(self) -> Any:
        return self.action if self.answer is None else self.answer

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return 0.0


class WalkEnv(EnvPoolProtocol, gymnasium.Env):
    """A gymnasium Env with hooks that draws from `np_random`: the default seeding must reach it."""

    def __init__(self, envid: int) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.x = 0.0

    def _reset_envpool(self) -> None:
        self.x = self.np_random.uniform()

    def _step_envpool(self, action: Any) -> None:
        self.x += self.np_random.normal() * (1 if action else -1)

    def _make_obs_envpool(self) -> Any:
        return np.array([self.x], np.float32)

    def _done_envpool(self) -> bool:
        return abs(self.x) > 3

    def _reward_envpool(self) -> float:
        return -abs(self.x)


class Pole(EnvPoolProtocol):
    """Gymnasium's CartPole behind the hooks."""

    def __init__(self, envid: int) -> None:
        self.env = CartPoleEnv()
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.seed: int | None = None

    def _seed_envpool(self, seed: int) -> None:
        self.seed = seed

    def _reset_envpool(self) -> None:
        self.obs, _ = self.env.reset(seed=self.seed)
        self.seed = None  # a seed counts for one reset, the episodes after it go on from there
        self.reward, self.terminated = 0.0, False

    def _step_envpool(self, action: Any) -> None:
        self.obs, self.reward, self.terminated, _, _ = self.env.step(action)

    def _make_obs_envpool(self) -> Any:
        return self.obs

    def _done_envpool(self) -> bool:
        return self.terminated

    def _reward_envpool(self) -> float:
        return self.reward


class Telling(EnvPoolProtocol):
    """Declares info, and returns `tell` as its info; ends after three steps."""

    info_space = spaces.Dict(
        {
            "score": spaces.Box(-np.inf, np.inf, (), np.float64),
            "arm": spaces.Dict({"joints": spaces.Box(-1, 1, (2,), np.float32), "on": spaces.Discrete(2)}),
            "mission": spaces.Text(8),
            "won": spaces.Box(0, 1, (), bool),
        }
    )

    def __init__(self, envid: int, info_space: Any = None) -> None:
        self.envid, self.t = envid, 0
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.info_space = info_space or self.info_space
        self.tell: Any = {}

    def _reset_envpool(self) -> None:
        self.t = 0

    def _step_envpool(self, action: Any) -> None:
        self.t += 1

    def _make_obs_envpool(self) -> Any:
        return np.array([self.t], np.float32)

    def _done_envpool(self) -> bool:
        return self.t == 3

    def _reward_envpool(self) -> float:
        return 1.0

    def _info_envpool(self) -> dict[str, Any]:
        return self.tell  # type: ignore[no-any-return]
