"""A real `gymnasium.vector.VectorEnv` over a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from envpool_protocol.errors import ActionError, EnvError, EnvFailure, WorkerDied
from envpool_protocol.sources import Description, Source
from envpool_wrap import access
from envpool_wrap.config import PoolConfig, is_one_each
from envpool_wrap.faces.gym import TuplePool, metadata_of
from envpool_wrap.nested import builder


class GymnasiumPool(TuplePool, VectorEnv):
    """A pool as a `VectorEnv`: batched spaces, `reset` with a mask, tuples from `call`.

    Asynchronous pools return `batch_size` rows, named by `info["env_id"]`; Gymnasium's wrappers need
    synchronous ones.
    """

    def __init__(
        self, source: Source, description: Description, module: ModuleType, config: PoolConfig
    ) -> None:
        super().__init__(source, description, module, config)
        self.num_envs = len(self)
        self.single_observation_space = self.spec.gymnasium_observation_space
        self.single_action_space = self.spec.gymnasium_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.metadata = metadata_of(config)
        self.render_mode = config.render_mode
        self._last: Any = None
        self._build_obs = builder(description.spec.obs, text=_texts)

    def _pack(self, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> Any:
        self._last = leaves
        return TuplePool._pack(self, leaves, info, reset)  # super() takes 4 % of a small step

    def __del__(self) -> None:
        """Nothing. VectorEnv's, before Gymnasium 1.3, closes, and complains in a forked process."""

    @property
    def closed(self) -> bool:  # type: ignore[override]  # of a VectorEnv it is an attribute
        """Whether `close` was called."""
        return bool(self._core.closed)

    def _final_obs(self, leaves: Sequence[Any], ended: Any) -> Any:
        """Gymnasium's way: an object array with the last observation where an episode ended, else None."""
        final_obs = np.full(len(ended), None, dtype=object)
        for row in np.flatnonzero(ended):
            final_obs[row] = self._build_obs([leaf[row].copy() for leaf in leaves[self._finals]])
        return final_obs

    def reset(self, env_id: Any = None, *, seed: Any = None, options: Any = None) -> Any:
        """Reset all envs, those of `env_id`, or those of `options["reset_mask"]`.

        With a mask (bool, shape (num_envs,)) all rows come back, and the rows that are not reset are as they
        were, without info of their own. The caller's dict is not changed.

        Raises:
            ActionError: a mask of the wrong shape or dtype, one that selects no env, one beside `env_id`, or
                before the first reset.
        """
        if not isinstance(options, Mapping) or "reset_mask" not in options:
            return super().reset(env_id, seed=seed, options=options)
        others = {key: value for key, value in options.items() if key != "reset_mask"}
        mask = self._mask(options["reset_mask"], env_id)
        ids = np.flatnonzero(mask)
        if is_one_each(seed) and len(seed) == self.num_envs:
            seed = [seed[int(i)] for i in ids]
        in_order = np.argsort(self._last[self._rest][self._leaves.index("env_id")])
        merged = [leaf[in_order] for leaf in self._last[:-1]]
        for name in ("terminated", "truncated"):  # that was told when it happened
            merged[self._rest][self._leaves.index(name)][:] = False
        failures: Sequence[EnvFailure] = ()
        kind: type[EnvError | WorkerDied] = EnvError
        try:
            info = super().reset(ids, seed=seed, options=others or None)[1]
        except (EnvError, WorkerDied) as error:
            if error.result is None:  # an env could not be built again: nothing was reset
                raise
            failures, kind, info = error.errors, type(error), error.result[1]
        for whole, part in zip(merged, self._last[:-1], strict=True):
            whole[ids] = part
        result = self._pack([*merged, None], self._infos.widen(info, ids, self.num_envs), True)
        if failures:
            raise kind(failures, result)
        return result

    def _mask(self, mask: Any, env_id: Any) -> Any:
        mask = np.asarray(mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            found = f"shape {mask.shape}, dtype {mask.dtype}"
            raise ActionError(f"reset_mask: expected shape ({self.num_envs},), dtype bool, found {found}")
        if not mask.any():
            raise ActionError("reset_mask selects no env; expected at least one True")
        if env_id is not None:
            raise ActionError("give env_id or options['reset_mask'], not both")
        if self._last is None or len(self._last[0]) != self.num_envs:
            raise ActionError("reset_mask needs the last observation of every env; reset() all of them first")
        return mask

    def call(self, name: str, *args: Any, env_id: Any = None, **kwargs: Any) -> tuple[Any, ...]:
        """Call method `name` of idle envs, or read the attribute of that name."""
        return tuple(self._apply(access.CallOrRead(name, args, kwargs), env_id))

    def get_attr(self, name: str, env_id: Any = None) -> tuple[Any, ...]:
        return tuple(super().get_attr(name, env_id))

    def set_attr(self, name: str, values: Any, env_id: Any = None) -> None:
        """Set attribute `name` of idle envs: to one value each from a list or tuple, else all to `values`."""
        if not isinstance(values, list | tuple):
            super().set_attr(name, values, env_id)
            return
        ids = range(len(self)) if env_id is None else np.atleast_1d(env_id)
        if len(values) != len(ids):
            raise ActionError(f"{name}: {len(values)} values for {len(ids)} envs; expected one per env")
        for one, value in zip(ids, values, strict=True):
            super().set_attr(name, value, one)

    def render(self, env_id: Any = None) -> tuple[Any, ...]:
        """One frame per env: uint8 of shape (height, width, 3)."""
        return tuple(self._apply(access.Render(), env_id))


def _texts(column: Any) -> Any:
    """Gymnasium's batch of Text is a tuple of str; of one row it is that str."""
    return tuple(column.tolist()) if isinstance(column, np.ndarray) else str(column)
