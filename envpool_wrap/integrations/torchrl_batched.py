"""A simulator that is batched already as a torchrl env, whose tensors stay on its device.

torchrl resets rows itself, with a mask of those whose episode ended. A simulator in disabled mode is given
that mask. One in same-step mode has reset these rows already, and tells of their last state as `final_obs`.
"""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from envpool_protocol.errors import ActionError, ConfigError, SpecError
from envpool_wrap.batched.pool import BatchedPool
from envpool_wrap.imports import needs
from envpool_wrap.integrations.tensors import tensors
from envpool_wrap.integrations.torchrl import declare, observed

with needs("torchrl"):
    import torch
    from tensordict import TensorDict
    from torchrl.envs import EnvBase

    from envpool_wrap.integrations.devices import known_device

# What a pool has to be made with, and why.
_WANTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "copy": ((True,), "torchrl keeps what it is given"),
    "array": (("native", "torch"), "torchrl computes with torch's tensors"),
    "autoreset_mode": (
        ("same_step", "disabled"),
        "torchrl has a row's first observation before the step that follows it",
    ),
}


class BatchedPoolEnv(EnvBase):  # type: ignore[misc]
    """A BatchedPool as a torchrl env of batch size `[num_envs]`.

    Keys and specs are those of `EnvPoolEnv`; rewards are float32, and infos are left out. At an episode's end
    `next` has its last observation, and the root of the next step the first one of the new episode.

    Args:
        pool: a BatchedPool of torch's tensors, with the gym or gymnasium API and `copy=True`: in same-step
            mode with `final_obs` in its info, or in disabled mode of a simulator that knows `reset_mask`.
        device: where the simulator's tensors are.

    Attributes:
        pool: the pool. `close()` closes it.

    Raises:
        ConfigError: a pool with other settings or the dm API; at a reset, tensors elsewhere.
        SpecError: a space that tensors cannot hold, or a key of the observation that torchrl uses; in `step`,
            an episode that ended without a `final_obs`.
    """

    def __init__(self, pool: BatchedPool, *, device: Any = "cpu") -> None:
        _check(pool)
        super().__init__(device=known_device(device), batch_size=[len(pool)])
        self.pool, self.is_closed = pool, False
        self._is_same_step = pool.config["autoreset_mode"] == "same_step"
        self._is_dict = isinstance(pool.single_observation_space, spaces.Dict)
        self._observed = observed(pool.single_observation_space)
        self._action = tensors(pool.single_action_space, "action")
        declare(self, self._observed, self._action)
        self._seed: int | None = None
        self._now: Any = None  # what each row's next action is for
        self._ended: Any = None  # in which rows the last step ended an episode

    def _reset(self, tensordict: Any, *, options: Any = None) -> Any:
        """Reset all rows, or those of the mask `_reset`. `options` as for the pool's `reset`."""
        mask = None if tensordict is None else tensordict.get("_reset", None)
        if mask is not None:
            mask = mask.reshape(len(self.pool))
            if self._is_same_step and self._now is not None and not (mask & ~self._ended).any():
                return self._now.copy()  # they were reset in the step
        if mask is None or mask.all():
            seed = self._seed
        elif self._is_same_step:
            raise ActionError(
                "_reset has rows whose episode has not ended: a simulator in same-step mode resets rows by "
                "itself; reset all of them"
            )
        else:
            seed, options = None, {**(options or {}), "reset_mask": mask}
        obs, _ = self.pool.reset(seed=seed, options=options)
        if seed is not None:
            self._seed = None
        self._check_arrays()
        self._now = self._tensors(obs)
        self._ended = torch.zeros(len(self.pool), dtype=torch.bool, device=self.device)
        return self._now.copy()

    def _step(self, tensordict: Any) -> Any:
        """Step all rows: a simulator can do no less."""
        only = tensordict.get("_step", None)
        if only is not None and not only.all():
            raise ActionError(f"_step has some rows alone: a simulator steps its {len(self.pool)} at once")
        obs, reward, terminated, truncated, info = self.pool.step(self._action.rows(tensordict["action"]))
        self._now, self._ended = self._tensors(obs), terminated | truncated
        told = self._with_lasts(info) if self._is_same_step else self._now.copy()
        told["reward"] = reward.to(torch.float32).unsqueeze(-1)
        flags = {"terminated": terminated, "truncated": truncated, "done": self._ended}
        for key, flag in flags.items():
            told[key] = flag.unsqueeze(-1)
        return told

    def _with_lasts(self, info: Any) -> Any:
        """What the step led to: last observations in the rows where episodes ended."""
        if "final_obs" in info:
            return self._tensors(info["final_obs"]).where(self._ended, self._now)
        if self._ended.any():
            raise SpecError(
                "an episode ended and info has no final_obs, the last observation, which torchrl wants; "
                "have the simulator tell it, or reset rows by reset_mask in its autoreset_mode 'disabled'"
            )
        return self._now.copy()

    def _tensors(self, obs: Any) -> Any:
        told = self._observed.of(obs if self._is_dict else {"observation": obs})
        return TensorDict(told, self.batch_size, self.device)

    def _check_arrays(self) -> None:
        arrays = self.pool._simulator.arrays
        if arrays.library != "torch":
            raise ConfigError(
                f"the simulator's arrays are of {arrays.library}: {_WANTED['array'][1]}; make the pool with "
                "array='torch'"
            )
        if arrays.device != self.device:
            raise ConfigError(
                f"device={str(self.device)!r}, and the simulator's tensors are on {arrays.device}: nothing "
                f"is copied between devices unasked; use BatchedPoolEnv(pool, device={str(arrays.device)!r})"
            )

    def _set_seed(self, seed: int | None) -> None:
        """For the next reset of all rows."""
        self._seed = seed

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the pool. May be called again."""
        super().close(raise_if_closed=raise_if_closed)
        self.pool.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool!r}, device={self.device})"


def _check(pool: Any) -> None:
    if not isinstance(pool, BatchedPool) or hasattr(pool, "observation_spec"):
        raise ConfigError(
            f"BatchedPoolEnv of {pool!r}: expected a BatchedPool with the gym or gymnasium API; of a pool of "
            "envs, make an EnvPoolEnv"
        )
    for key, (possible, why) in _WANTED.items():
        if pool.config[key] not in possible:
            expected = " or ".join(map(repr, possible))
            raise ConfigError(f"{key}={pool.config[key]!r}: {why}; make the pool with {key}={expected}")
