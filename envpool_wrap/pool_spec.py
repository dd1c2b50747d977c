"""What a pool is made of: its settings and the spaces of one env, in the libraries that ask for them."""

from __future__ import annotations

import functools
import importlib.util
from collections import namedtuple
from typing import Any

from envpool_protocol.descriptions import Description, Library
from envpool_protocol.spaces import space_from_description
from envpool_wrap.config import PoolConfig


class PoolSpec:
    """Settings and single-env spaces of a pool; `make_spec` gives one without building any env.

    Attributes:
        config: the settings as a named tuple.
        gymnasium_observation_space, gymnasium_action_space: gymnasium spaces, always.
        gymnasium_info_space: of the declared info, or None.
        observation_space, action_space: old gym spaces wherever `gym` can be imported, else gymnasium's.
            That is what torchrl's wrapper expects of a spec.
    """

    def __init__(self, description: Description, config: PoolConfig) -> None:
        self._description = description
        settings = vars(config)
        self.config: Any = namedtuple("Config", settings)(**settings)

    def space(self, which: str, library: Library) -> Any:
        """The `"observation"`, `"action"` or `"info"` space in `library`, `"gym"` or `"gymnasium"`."""
        return space_from_description(getattr(self._description, f"{which}_space"), library)

    @property
    def described_with(self) -> Library:
        """The library whose spaces the env has, or gymnasium where that is not installed here."""
        return self._description.library if _has_gym() else "gymnasium"

    @functools.cached_property
    def gymnasium_observation_space(self) -> Any:
        return self.space("observation", "gymnasium")

    @functools.cached_property
    def gymnasium_action_space(self) -> Any:
        return self.space("action", "gymnasium")

    @functools.cached_property
    def gymnasium_info_space(self) -> Any:
        return self._description.info_space and self.space("info", "gymnasium")

    @functools.cached_property
    def observation_space(self) -> Any:
        return self.space("observation", "gym" if _has_gym() else "gymnasium")

    @functools.cached_property
    def action_space(self) -> Any:
        return self.space("action", "gym" if _has_gym() else "gymnasium")

    def observation_spec(self) -> Any:
        """dm_env's specs of one env's observation, nested as the dm face's `TimeStep.observation` is."""
        from envpool_wrap.faces import time_step

        obs = self._description.spec.obs
        return time_step.state_specs(obs, self.gymnasium_observation_space, self.config)

    def action_spec(self) -> Any:
        """dm_env's specs of one env's action, nested as the space is."""
        from envpool_wrap.faces import time_step

        return time_step.array_specs(self._description.spec.action, self.gymnasium_action_space)

    @property
    def reward_threshold(self) -> float | None:
        return self.config.reward_threshold  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"PoolSpec({self._description.spec.name}, {self.config})"


def _has_gym() -> bool:
    return importlib.util.find_spec("gym") is not None
