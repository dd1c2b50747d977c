"""Envs for pools of actors, which import this module; and Ray itself, started once per test module."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

OBJECT_STORE = 100 << 20


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What these libraries say while they are imported and started is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def local_ray() -> Iterator[Any]:
    """Ray on this machine, with more CPUs than it has."""
    with quietly():
        ray = pytest.importorskip("ray")
        ray.init(
            num_cpus=8,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE,
            logging_level="ERROR",
            log_to_driver=False,
        )
    yield ray
    with quietly():
        ray.shutdown()


class Toy(gymnasium.Env[Any, Any]):
    """obs [seed, t], reward seed + t / 10; ends at t = 2 + seed % 2. A reset's seed is for one episode."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(5)

    def __init__(self, sd: int, what: str = "", when: int = 2) -> None:
        self.sd, self.shown, self.t = sd, sd, 0
        self.what, self.when, self.z = what, when, 0
        self.pid, self.render_mode = os.getpid(), "rgb_array"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        self.shown = self.sd if seed is None else seed
        self.t = 0
        return self._obs(), dict(options or {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        if self.what and self.t == self.when:
            self._get_into_trouble(self.what)
        return self._obs(), self.shown + self.t / 10, self.t == 2 + self.sd % 2, False, {"a": int(action)}

    def _get_into_trouble(self, what: str) -> None:
        if what == "raise":
            raise ValueError(f"toy {self.sd} says no")
        if what == "exit":
            os._exit(3)
        if what == "hang":
            time.sleep(600)

    def _obs(self) -> Any:
        return np.array([self.shown, self.t], np.float32)

    def double(self, value: int) -> int:
        return 2 * value + self.sd

    def render(self) -> Any:
        return np.full((4, 6, 3), self.sd, np.uint8)


class Camera(Toy):
    """A dict of a large image and an arm, with text."""

    observation_space = spaces.Dict(  # type: ignore[assignment]
        {
            "camera": spaces.Box(0, 255, (64, 64, 3), np.uint8),
            "arm": spaces.Box(-1, 1, (2,), np.float64),
            "word": spaces.Text(4),
        }
    )

    def _obs(self) -> Any:
        camera = np.full((64, 64, 3), 10 * self.sd + self.t, np.uint8)
        return {"camera": camera, "arm": np.full(2, self.t / 10), "word": "abcdefgh"[: 1 + self.t % 3]}


class Logged(Toy):
    """Writes down in `folder` that it was made, and where, and that it was closed."""

    def __init__(self, sd: int, folder: Path) -> None:
        super().__init__(sd)
        self.folder = folder
        self._log("made")

    def close(self) -> None:
        self._log("closed")

    def _log(self, what: str) -> None:
        with (self.folder / what).open("a") as log:
            log.write(f"{self.sd} {os.getpid()}\n")


class Sleeper(Toy):
    """Env i sleeps as long as `seconds` says in a step."""

    def __init__(self, sd: int, seconds: float) -> None:
        super().__init__(sd)
        self.seconds = seconds

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(self.seconds)
        return super().step(action)


class Odd(Toy):
    """Env 3 has another space."""

    def __init__(self, sd: int) -> None:
        super().__init__(sd)
        if sd == 3:
            self.action_space = spaces.Discrete(7)


class Secretive(Toy):
    """Its info cannot be pickled at t = 1, for env 1."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        *result, info = super().step(action)
        if self.sd == 1 and self.t == 1:
            info["lock"] = threading.Lock()
        return *result, info  # type: ignore[return-value]
