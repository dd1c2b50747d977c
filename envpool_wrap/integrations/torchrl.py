"""A pool as a torchrl env, with gymnasium alone: neither old gym nor EnvPool is needed.

torchrl resets envs itself, with a mask of those whose episode ended. So the pool does not: its
`autoreset_mode` is "disabled", and each reset is one of some envs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envpool_protocol.errors import ConfigError, SpecError
from envpool_wrap import registry
from envpool_wrap.config import seeds_of
from envpool_wrap.faces.gym import TuplePool
from envpool_wrap.imports import needs
from envpool_wrap.integrations.closing import closed_on_error
from envpool_wrap.integrations.pending import drop_pending
from envpool_wrap.integrations.tensors import Branch, Leaf, tensors

with needs("torchrl"):
    import torch
    from tensordict import TensorDict
    from torchrl.data import Categorical, Composite, Unbounded
    from torchrl.envs import EnvBase

    from envpool_wrap.integrations.devices import known_device

# Of a tensordict's root, and so no keys of observations.
_TAKEN = {"action", "reward", "done", "terminated", "truncated", "info", "next", "_reset", "_step"}


class EnvPoolEnv(EnvBase):  # type: ignore[misc]
    """A synchronous pool as a torchrl env of batch size `[num_envs]`.

    Keys are those of torchrl's own gym envs: `observation`, or the keys of a Dict observation; `action`;
    `reward` (float32), `done`, `terminated` and `truncated`, of shape (num_envs, 1). Declared info is below
    `info`, except for Text. At an episode's end `next` has its last observation; then torchrl resets, and the
    root of the next step has the first one of the new episode. `integrations.tensors` tells how spaces become
    specs.

    Tensors on the CPU share the memory of the pool's batches, which the pool never writes again. What torchrl
    itself shares is shared: the `next` of one step and the root of the following have the same tensors.

    Args:
        pool_or_task_id: a task id, or a pool with the gym or gymnasium API and `autoreset_mode="disabled"`.
        device: where tensors are put, and actions taken from; None: the CPU, without saying so.
        **config: for a task id: see `envpool_wrap.config.PoolConfig`.

    Attributes:
        pool: the pool. `close()` closes it.

    Raises:
        ConfigError: a pool that is asynchronous, resets by itself or has another API; bad settings; no such
            device.
        SpecError: a space that tensors cannot hold, or a key of the observation that torchrl uses.
    """

    def __init__(self, pool_or_task_id: Any, *, device: Any = None, **config: Any) -> None:
        pool = _pool_of(pool_or_task_id, config)
        with closed_on_error(None if pool is pool_or_task_id else pool):
            _check_pool(pool)
            super().__init__(device=None if device is None else known_device(device), batch_size=[len(pool)])
            self.pool, self.is_closed = pool, False
            self._is_dict = isinstance(pool.spec.gymnasium_observation_space, spaces.Dict)
            self._observed = observed(
                pool.spec.gymnasium_observation_space, _without_text(pool.spec.gymnasium_info_space)
            )
            self._action = tensors(pool.spec.gymnasium_action_space, "action")
            self._seeds: dict[int, int | None] = {}
            declare(self, self._observed, self._action)
            self._now = self.fake_tensordict()["next"]  # a row per env: what it told last

    def _reset(self, tensordict: Any, *, options: Any = None) -> Any:
        """Reset all envs, or those of the mask `_reset`. `options` as for the pool's `reset`.

        A step that was left behind by a timeout or Ctrl-C is dropped when all are reset.
        """
        ids = self._ids(tensordict, "_reset")
        if ids is None:
            drop_pending(self.pool)
        due = self.pool.all_env_ids if ids is None else ids
        if len(due) > 0:
            seeds = {env: self._seeds[env] for env in due.tolist() if env in self._seeds}
            obs, info = self.pool.reset(ids, seed=seeds or None, options=options)
            self._seeds = {env: seed for env, seed in self._seeds.items() if env not in seeds}
            nothing = np.zeros(len(due), bool)
            self._take(ids, obs, np.zeros(len(due)), nothing, nothing, info)
        return self._now.exclude("reward")

    def _step(self, tensordict: Any) -> Any:
        """Step all envs, or those of the mask `_step`; the others stay as they are, with reward 0."""
        ids = self._ids(tensordict, "_step")
        action = tensordict["action"]
        self._take(ids, *self.pool.step(self._action.arrays(action if ids is None else action[ids]), ids))
        return self._now.copy()

    def _ids(self, tensordict: Any, mask: str) -> Any:
        """The env ids that the mask selects; None: all."""
        selected = None if tensordict is None else tensordict.get(mask, None)
        return None if selected is None or selected.all() else np.flatnonzero(selected.cpu().numpy())

    def _take(self, ids: Any, obs: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> None:
        """What the envs `ids` told becomes part of what is now."""
        told = obs if self._is_dict else {"observation": obs}
        data = self._observed.of({**told, "info": info})
        data["reward"] = torch.from_numpy(reward).to(torch.float32).unsqueeze(-1)
        flags = {"terminated": terminated, "truncated": truncated, "done": terminated | truncated}
        data |= {key: torch.from_numpy(flag).unsqueeze(-1) for key, flag in flags.items()}
        rows = TensorDict(data, [len(reward)], device=self.device)
        if ids is None:
            self._now = rows
            return
        self._now = self._now.clone() if self.device is None else self._now.clone().to(self.device)
        self._now["reward"].zero_()
        self._now[torch.from_numpy(ids)] = rows

    def _set_seed(self, seed: int | None) -> None:
        """Env i gets seed + i with its next reset, as from the pool's setting."""
        if seed is not None:
            self._seeds = dict(enumerate(seeds_of(seed, len(self.pool))))

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the pool. May be called again."""
        super().close(raise_if_closed=raise_if_closed)
        self.pool.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool!r}, device={self.device})"


def _pool_of(given: Any, config: dict[str, Any]) -> Any:
    if isinstance(given, str) and given not in registry.MAKERS:
        return registry.make(given, "gym", **{"autoreset_mode": "disabled", "infos": "none", **config})
    if not isinstance(given, TuplePool):
        raise ConfigError(
            f"EnvPoolEnv of {given!r}: expected a task id, or a pool of envs that envpool_wrap.make made "
            "with the env_type 'gym' or 'gymnasium'. For a simulator that is batched already, there is "
            "BatchedPoolEnv in envpool_wrap.integrations.torchrl_batched"
        )
    if config:
        raise ConfigError(f"{', '.join(config)} beside a pool: give settings to envpool_wrap.make")
    return given


def _check_pool(pool: TuplePool) -> None:
    if pool.is_async:
        rows = pool.config["batch_size"]
        raise ConfigError(
            f"batch_size={rows} of {len(pool)} envs: each step of a torchrl env returns a row of every env, "
            "so its pool has to be synchronous: leave batch_size out. Not to wait for the slowest, take "
            "several EnvPoolEnvs in torchrl's MultiAsyncCollector, or the pool's own send and recv"
        )
    if (mode := pool.config["autoreset_mode"]) != "disabled":
        raise ConfigError(
            f"autoreset_mode={mode!r}: torchrl resets envs itself; make the pool with "
            "autoreset_mode='disabled'"
        )
    if pool.config["infos"] == "list":
        raise ConfigError("infos='list' cannot be put in tensors; make the pool with infos='auto' or 'none'")


def declare(env: Any, observed: Branch, action: Leaf | Branch) -> None:
    """Give a torchrl env its specs."""
    rows, device = env.batch_size[0], env.device
    flag = Categorical(2, shape=(rows, 1), dtype=torch.bool)
    flags = {key: flag.clone() for key in ("done", "terminated", "truncated")}
    env.observation_spec = observed.spec(rows).to(device)
    env.full_action_spec = Composite(action=action.spec(rows), shape=(rows,)).to(device)
    env.reward_spec = Unbounded((rows, 1)).to(device)
    env.done_spec = Composite(flags, shape=(rows,)).to(device)


def observed(space: Any, info_space: Any = None) -> Branch:
    """Observation and declared info, by their keys in a tensordict.

    Raises:
        SpecError: a space that tensors cannot hold, or a key that torchrl uses.
    """
    obs = tensors(space, "obs")
    members = dict(obs.members) if isinstance(obs, Branch) and not obs.is_tuple else {"observation": obs}
    taken = [key for key in members if key in _TAKEN]
    if taken:
        raise SpecError(f"obs.{taken[0]}: torchrl keeps something else under this key; rename it")
    return Branch(members | ({"info": tensors(info_space, "info")} if info_space else {}))


def _without_text(space: Any) -> Any:
    """A Dict space without what no tensor holds; None if nothing is left."""
    if not isinstance(space, spaces.Dict):
        return None if isinstance(space, spaces.Text) else space
    kept = {key: _without_text(child) for key, child in space.items()}
    kept = {key: child for key, child in kept.items() if child is not None}
    return spaces.Dict(kept) if kept else None
