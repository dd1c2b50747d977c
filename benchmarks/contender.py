"""What a contender is: whatever steps a batch of envs."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.envs import Env
from benchmarks.loop import Loop


@dataclass(frozen=True)
class Rows:
    """What one call returned, a row per env of `ids`. After a reset there are no rewards and no flags."""

    ids: NDArray[Any]
    obs: NDArray[Any]
    reward: Any = 0.0
    terminated: Any = False
    truncated: Any = False


class Contender:
    """Steps `num_envs` envs with `workers` workers, where it has workers.

    `step(actions)` is what is timed. `read` puts what `step` or `reset` returned into `Rows`, for the check,
    and is not timed. Here is what does for a library with Gymnasium's API.

    Attributes:
        needs: the module that has to be installed.
        autoreset: `"same_step"` or `"next_step"`: when a finished env is reset.
        restless: its workers do not sleep, so they are stopped while others are measured.
        same_envs: it steps the benchmark's envs, so that its results can be checked against the loop's.
        only: the envs it is meant for; all if empty.
    """

    needs: ClassVar[str] = "gymnasium"
    autoreset: ClassVar[str] = "next_step"
    restless: ClassVar[bool] = False
    same_envs: ClassVar[bool] = True
    only: ClassVar[tuple[str, ...]] = ()

    def __init__(self, env: Env, num_envs: int, workers: int) -> None:
        self.num_envs = num_envs
        self.envs = self.make(env, num_envs, workers)
        self.step: Callable[[Any], Any] = self.stepper()

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        """The library's own object."""
        raise NotImplementedError

    def stepper(self) -> Callable[[Any], Any]:
        """Steps the envs that are due: takes actions of shape (num_envs, *action shape)."""
        step: Callable[[Any], Any] = self.envs.step
        return step

    @property
    def rows(self) -> int:
        """How many envs one `step` steps."""
        return self.num_envs

    @property
    def due(self) -> NDArray[Any]:
        """The envs that the next `step` sends actions to."""
        return np.arange(self.num_envs)

    def reset(self) -> Any:
        """Start all episodes."""
        return self.envs.reset()

    def read(self, returned: Any) -> Rows:
        """What `step`, or `reset`, returned."""
        obs, *rewards_and_flags, _ = returned
        return Rows(self.due, obs, *rewards_and_flags)

    def close(self) -> None:
        """End what was started."""
        self.envs.close()

    @classmethod
    def installed(cls) -> bool:
        """Whether its library is here."""
        return importlib.util.find_spec(cls.needs) is not None


class PlainLoop(Contender):
    """The loop against itself: how far the noise of the machine takes a ratio from 1."""

    autoreset = "same_step"

    def make(self, env: Env, num_envs: int, workers: int) -> Any:
        return Loop(env, range(num_envs), self.autoreset)

    def read(self, returned: Any) -> Rows:
        loop = self.envs
        return Rows(self.due, loop.obs, loop.reward, loop.terminated, loop.truncated)

    def close(self) -> None:
        pass


def creators(env: Env, num_envs: int) -> list[Callable[[], Any]]:
    """For libraries that want functions without arguments: one per env."""
    return [functools.partial(env.as_gymnasium, i) for i in range(num_envs)]
