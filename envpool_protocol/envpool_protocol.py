"""The protocol: five hooks that make a Python class an env that a pool can step.

    reset   _reset_envpool()        _make_obs_envpool()
    step    _step_envpool(action)   _make_obs_envpool()   _done_envpool()   [_truncated_envpool()]
            _reward_envpool()       [_info_envpool()]

A hook in brackets is called only where a class overrides it. Each env is touched by one thread at a time,
but not always by the same one.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envpool_protocol.compiled.state import random_fields
from envpool_protocol.signatures import signature_of


class EnvPoolProtocol:
    """Base class of an env written as hooks.

    `__init__(self, envid)`, or `__init__(self, envid, **kwargs)`, sets `observation_space` and
    `action_space`, from gymnasium or old gym. `envid` is the env's number in its pool, from 0.
    """

    observation_space: Any
    action_space: Any
    state_envpool: ClassVar[dict[str, Any]]  # declares the state, of classes whose hooks can be compiled

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "state_envpool" in vars(cls):
            from envpool_protocol.compiled import interpreted

            interpreted.install(cls)

    # ---- the five hooks that every env has ----

    def _reset_envpool(self) -> None:
        """Start a new episode. May take keyword arguments: what `reset(options=...)` was given."""
        raise NotImplementedError

    def _step_envpool(self, action: Any) -> None:
        """Advance by one step.

        `action` is what the action space says: an ndarray for Box, MultiDiscrete and MultiBinary, an int
        for Discrete, dicts and tuples of these. An array is this env's own and may be kept.
        """
        raise NotImplementedError

    def _make_obs_envpool(self) -> Any:
        """The observation, of the observation space's shape and dtype. It is copied at once.

        With a parameter `out`, as in `_make_obs_envpool(self, out)`, nothing needs to be copied: `out` is the
        place in the batch, an array (or a dict or tuple of arrays) of the space's shape and dtype, to be
        written wholly and not to be kept. Return `out` or None then; anything else is copied as ever.
        """
        raise NotImplementedError

    def _done_envpool(self) -> bool:
        """Whether the episode has terminated."""
        raise NotImplementedError

    def _reward_envpool(self) -> float:
        """The reward of the last step, a scalar, kept as float32."""
        raise NotImplementedError

    # ---- optional hooks ----

    def _truncated_envpool(self) -> bool:
        """Whether the episode was cut short. Default: never, apart from the pool's `max_episode_steps`."""
        return False

    def _info_envpool(self) -> dict[str, Any]:
        """Further facts about the last step. Default: none."""
        return {}

    def _seed_envpool(self, seed: int) -> None:
        """Seed the env before its next reset.

        Default: seed every `Random` of the declared state, each with numbers of its own; the two spaces (for
        envs that sample from them); and, where the class is a gymnasium or gym `Env`, its `np_random`.
        """
        for stream, path in enumerate(random_fields(type(self))):
            attrgetter(path)(self).seed(seed, stream)
        for space in (self.observation_space, self.action_space):
            space.seed(seed)
        if hasattr(type(self), "np_random"):
            self._np_random = np.random.default_rng(seed)
            self._np_random_seed = seed

    def _render_envpool(self) -> NDArray[np.uint8]:
        """The current frame: uint8 of shape (height, width, 3)."""
        raise NotImplementedError(f"{type(self).__name__} does not define _render_envpool")

    def _close_envpool(self) -> None:
        """Free what the env holds. Called once, when its pool closes."""


REQUIRED_HOOKS = ("_reset_envpool", "_step_envpool", "_make_obs_envpool", "_done_envpool", "_reward_envpool")
OPTIONAL_HOOKS = ("_truncated_envpool", "_info_envpool", "_seed_envpool", "_render_envpool", "_close_envpool")


def takes_out(make_obs: Any) -> bool:
    """Whether `_make_obs_envpool` has a parameter `out`: the arrays to write the observation into."""
    signature = signature_of(make_obs)
    return signature is not None and "out" in signature.parameters
