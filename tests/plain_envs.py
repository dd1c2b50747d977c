"""Envs without hooks, one per api. Each echoes its action inside its observation, and counts.

An episode ends after `ends_after` steps: by itself, or, with `cut`, as truncated. The first observation of an
episode holds a sample that depends on the seed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces

ECHOED = spaces.Dict(
    {
        "arm": spaces.Tuple(
            (
                spaces.Box(-np.inf, np.inf, (), np.float64),
                spaces.Dict({"grip": spaces.Discrete(4, start=-1), "on": spaces.MultiBinary(3)}),
            )
        ),
        "camera": spaces.Box(0, 255, (2, 3, 3), np.uint8),
        "wheels": spaces.MultiDiscrete([[2, 3], [4, 5]]),
    }
)


class Echo(gymnasium.Env[Any, Any]):
    """gymnasium's api. `shown` is what the last reset was given."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(self, ends_after: int = 3, cut: bool = False, render_mode: str | None = None) -> None:
        self.observation_space = spaces.Dict(
            OrderedDict(t=spaces.Discrete(1000), echo=ECHOED)  # not in the order of the alphabet
        )
        self.action_space = ECHOED
        self.ends_after, self.cut, self.render_mode = ends_after, cut, render_mode
        self.t, self.shown, self.closed = 0, {}, 0
        self.answers: dict[str, Any] = {}  # method → what it returns instead, or raises

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t, self.shown = 0, {"seed": seed, "options": options}
        self.echoed = sample_of(self.np_random)
        return self._answer("reset", (self.obs(), {"shown": self.shown}))

    def step(self, action: Any) -> Any:
        self.t, self.echoed = self.t + 1, action
        done = self.t >= self.ends_after
        info = {"t": self.t} if self.t % 2 else {}
        return self._answer(
            "step", (self.obs(), 0.1 * self.t, done and not self.cut, done and self.cut, info)
        )

    def obs(self) -> Any:
        return {"t": self.t, "echo": self.echoed}

    def render(self) -> Any:
        return np.full((2, 3, 3), self.t, np.uint8)

    def close(self) -> None:
        self.closed += 1
        self._answer("close", None)

    def _answer(self, method: str, usual: Any) -> Any:
        answer = self.answers.get(method, usual)
        if isinstance(answer, Exception):
            raise answer
        return answer


def sample_of(rng: np.random.Generator) -> Any:
    """A value of ECHOED that depends on a generator only."""
    return {
        "arm": (
            float(rng.normal()),
            {"grip": int(rng.integers(-1, 3)), "on": rng.integers(0, 2, 3, np.int8)},
        ),
        "camera": rng.integers(0, 256, (2, 3, 3), np.uint8),
        "wheels": rng.integers(0, 2, (2, 2)),
    }


class OldEcho:
    """Old gym's api, without its base class: four from step, an observation alone from reset, `seed`."""

    def __init__(self, ends_after: int = 3, cut: bool = False) -> None:
        self.observation_space = spaces.Dict(OrderedDict(t=spaces.Discrete(1000), echo=ECHOED))
        self.action_space = ECHOED
        self.ends_after, self.cut, self.t = ends_after, cut, 0
        self.rng = np.random.default_rng()
        self.seeds: list[int] = []
        self.answers: dict[str, Any] = {}

    def seed(self, seed: int | None = None) -> list[int]:
        self.rng = np.random.default_rng(seed)
        self.seeds.append(seed or 0)
        return [seed or 0]

    def reset(self) -> Any:
        self.t = 0
        return self.answers.get("reset", {"t": 0, "echo": sample_of(self.rng)})

    def step(self, action: Any) -> Any:
        self.t += 1
        done = self.t >= self.ends_after
        info: dict[str, Any] = {"t": self.t}
        if done:
            info["TimeLimit.truncated"] = self.cut
        return self.answers.get("step", ({"t": self.t, "echo": action}, 0.1 * self.t, done, info))


class DMEcho(dm_env.Environment):
    """dm_env's api. Its generator is where dm_control's suite has it: `task.random`."""

    class Task:
        def __init__(self, random: int | None) -> None:
            self.random = np.random.RandomState(random)

    def __init__(self, ends_after: int = 3, cut: bool = False, random: int | None = None) -> None:
        self.ends_after, self.cut, self.t, self.closed = ends_after, cut, 0, 0
        self.task = self.Task(random)
        self.answers: dict[str, Any] = {}

    def action_spec(self) -> Any:
        return OrderedDict(
            grip=specs.DiscreteArray(4, name="grip"),
            arm=[specs.BoundedArray((2,), np.float64, -1.0, [1.0, 2.0]), specs.Array((), np.float32)],
        )

    def observation_spec(self) -> Any:
        return OrderedDict(t=specs.BoundedArray((), np.int32, 0, 1000), echo=(self.action_spec(),))

    def reset(self) -> Any:
        self.t = 0
        first = self.task.random.uniform(-1.0, 1.0, size=2)
        return self.answers.get("reset", dm_env.restart(self.obs({"grip": 0, "arm": [first, 0.0]})))

    def step(self, action: Any) -> Any:
        self.t += 1
        kind = dm_env.transition
        if self.t >= self.ends_after:
            kind = dm_env.truncation if self.cut else dm_env.termination
        return self.answers.get("step", kind(0.1 * self.t, self.obs(action)))

    def obs(self, echo: Any) -> Any:
        return {"t": np.int32(self.t), "echo": (echo,)}

    def close(self) -> None:
        self.closed += 1
