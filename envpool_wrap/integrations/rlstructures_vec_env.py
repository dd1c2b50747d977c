"""rlstructures' `VecEnv` over a pool: rows of the envs that run, as DictTensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from envpool_protocol.errors import ActionError, ConfigError, EnvError, WorkerDied
from envpool_wrap.faces.gym import TuplePool
from envpool_wrap.imports import needs
from envpool_wrap.integrations.columns import action_column, columns_of
from envpool_wrap.integrations.pending import drop_pending

with needs("rlstructures"):
    import torch

    from envpool_wrap.integrations.devices import known_device
    from envpool_wrap.integrations.dict_tensor import DictTensor

# Beside the env's own keys, and what they are when an episode begins.
_BESIDE = {"reward": 0, "done": False, "truncated": False, "initial_state": True, "last_action": 0}


class VecEnv:
    """A synchronous pool behind rlstructures' `VecEnv`.

    With `autoreset_mode="disabled"` the batch shrinks: an env whose episode ended stays idle until `reset`,
    and the next action has a row less. With `"same_step"` all envs always run.

    Observations are DictTensors with a row per env, in the order of env ids: the keys of a Dict observation,
    nested ones as `"arm/joints"`, or `frame`. A number has shape (rows, 1); float64 becomes float32, other
    dtypes stay. Beside these: `reward` (float32), `done`, `truncated` and `initial_state` (bool), all of
    shape (rows,), and `last_action`, zeros after a reset. `done` is also True where an episode was cut;
    `truncated` says that it was. What envs return as info is not there.

    Args:
        pool: made with the gym or gymnasium API.
        device: where tensors are put. Actions may be anywhere.
        infinite: None, or what the pool's `autoreset_mode` has to agree with.

    Attributes:
        pool: the pool.
        infinite: whether all envs always run.

    Raises:
        ConfigError: a pool that does not go with this, or a device that is not there.
        SpecError: an action that is no tensor, text in the observation, or a key of it that is one of those
            above.
    """

    def __init__(self, pool: Any, *, device: Any = "cpu", infinite: bool | None = None) -> None:
        self.infinite = _check_pool(pool, infinite)
        self.pool, self._device = pool, known_device(device)
        self._tensor = torch.from_numpy if self._device.type == "cpu" else self._moved
        self.observation_space = pool.spec.gymnasium_observation_space
        self.action_space = pool.spec.gymnasium_action_space
        self._columns = columns_of(self.observation_space, _BESIDE)
        self._action_column = action_column(self.action_space)
        self._ids: Any = None  # of the running envs; None before a reset

    def n_envs(self) -> int:
        """How many envs there are, running or not."""
        return len(self.pool)

    def reset(self, env_info: Any = None) -> tuple[DictTensor, Any]:
        """Reset all envs.

        Args:
            env_info: a DictTensor, TensorDict or mapping of lists, arrays or tensors with one row per env.
                Env i gets a dict of its rows, as numbers and lists: as `reset(env_info=...)` or
                `reset(options=...)`, whichever it takes. With `infinite`, also at each autoreset.

        Returns:
            (obs, running): `running` is int64, the ids of all envs.

        Raises:
            ActionError: an env_info of another size, or for envs that take none.
            EnvError, WorkerDied: an env raised; `.result` has what was to be returned.
        """
        options = None if env_info is None else self._options(env_info)
        drop_pending(self.pool)
        try:
            first = self.pool.reset(options=options)
        except (EnvError, WorkerDied) as error:
            if error.result is not None:
                error.result = self._begun(*error.result)
                self._ids = None
            raise
        return self._begun(*first)

    def step(self, policy_output: Any) -> tuple[tuple[DictTensor, Any], tuple[DictTensor, Any]]:
        """Step the running envs.

        Args:
            policy_output: a DictTensor, TensorDict or mapping with `action`: one row per running env, in the
                order of `running`.

        Returns:
            ((obs, was_running), (obs2, running)): `obs` is what the actions led to, at an episode's end its
            last observation; `obs2` is what the next actions are for, a copy: the rows that go on, and with
            `infinite` the first observation of a new episode where one ended. Ids are int64. When no env
            runs, all are without rows.

        Raises:
            ActionError: not one action per running env, one that the action space has not, or no `reset`
                before.
            EnvError, WorkerDied: an env raised; `.result` has what was to be returned, where its row is
                zeros and truncated. Other envs go on.
            PoolTimeout: the pool's `timeout` passed. As after Ctrl-C, `reset` is the way on.
        """
        action = self._action(policy_output)
        if len(action) == 0:
            return (self._nothing(), self._running()), (self._nothing(), self._running())
        everyone = len(action) == len(self.pool)
        try:
            result = self.pool.step(action, None if everyone else self._ids)
        except (EnvError, WorkerDied) as error:
            if error.result is not None:
                error.result = self._stepped(action, *error.result)
            raise
        return self._stepped(action, *result)

    def close(self) -> None:
        """Close the pool. May be called again."""
        self.pool.close()

    def __enter__(self) -> VecEnv:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool!r}, device={self._device})"

    # ---- from the pool's results ----

    def _begun(self, obs: Any, info: Any) -> tuple[DictTensor, Any]:
        rows = len(self.pool)
        self._ids = np.arange(rows)
        return self._told(self._observed(obs), self._beside_first(rows), rows), self._running()

    def _stepped(
        self, action: Any, obs: Any, reward: Any, terminated: Any, truncated: Any, info: Any
    ) -> tuple[tuple[DictTensor, Any], tuple[DictTensor, Any]]:
        was_running, rows, ended = self._running(), len(action), terminated | truncated
        observed = self._observed(obs)
        beside = {
            "reward": reward.astype(np.float32),
            "done": ended,
            "truncated": truncated,
            "initial_state": info["elapsed_step"] == 0,  # True for an env that raised, and then was reset
            "last_action": action.astype(self._action_column.dtype),
        }
        if not ended.any():
            now = {key: tensor.clone() for key, tensor in observed.items()}
            beside_now = {key: array.copy() for key, array in beside.items()}
        elif self.infinite:
            now, observed = observed, self._with_lasts(observed, info["final_obs"], ended)
            beside_now = {key: _filled(array, ended, _BESIDE[key]) for key, array in beside.items()}
        else:
            goes_on = ~ended
            self._ids = self._ids[goes_on]
            rows_now = self._tensor(np.flatnonzero(goes_on))
            now = {key: tensor[rows_now] for key, tensor in observed.items()}
            beside_now = {key: array[goes_on] for key, array in beside.items()}
        return (
            (self._told(observed, beside, rows), was_running),
            (self._told(now, beside_now, len(self._ids)), self._running()),
        )

    def _told(self, observed: dict[str, Any], beside: dict[str, Any], rows: int) -> DictTensor:
        return DictTensor.of(observed | {key: self._tensor(beside[key]) for key in _BESIDE}, rows)

    def _observed(self, obs: Any) -> dict[str, Any]:
        return {column.key: self._tensor(column.rows_in(obs)) for column in self._columns}

    def _with_lasts(self, observed: dict[str, Any], final_obs: Any, ended: Any) -> dict[str, Any]:
        """The last observations of the episodes that ended, in the rows where new ones began."""
        if isinstance(final_obs, np.ndarray) and final_obs.dtype == object:  # gymnasium's: None elsewhere
            each = [[column.found_in(one) for column in self._columns] for one in final_obs[ended]]
            lasts = [np.stack(arrays) for arrays in zip(*each, strict=True)]
        else:
            lasts = [column.found_in(final_obs)[ended] for column in self._columns]
        rows = self._tensor(np.flatnonzero(ended))
        return {
            column.key: observed[column.key].index_copy(0, rows, self._tensor(column.rows_of(last)))
            for column, last in zip(self._columns, lasts, strict=True)
        }

    def _nothing(self) -> DictTensor:
        observed = {column.key: self._tensor(column.zeros(0)) for column in self._columns}
        return self._told(observed, self._beside_first(0), 0)

    def _beside_first(self, rows: int) -> dict[str, Any]:
        """What is beside the observations of envs whose episode begins."""
        zeros = {"reward": np.zeros(rows, np.float32), "last_action": self._action_column.zeros(rows)}
        return {key: zeros.get(key, np.full(rows, first)) for key, first in _BESIDE.items()}

    def _running(self) -> Any:
        """The ids of the running envs: each time a tensor of its own, which is the user's."""
        return self._tensor(self._ids.copy())

    # ---- to the pool ----

    def _action(self, policy_output: Any) -> Any:
        """The array of actions, one row per running env."""
        if self._ids is None:
            raise ActionError("step before reset: no env is running; call reset() first")
        if not hasattr(policy_output, "keys"):
            raise ActionError(
                f"policy_output is {policy_output!r:.80}; expected DictTensor({{'action': ...}})"
            )
        if "action" not in policy_output.keys():  # noqa: SIM118 - of a TensorDict
            raise ActionError(f"policy_output has {list(policy_output.keys())}; expected the key 'action'")
        action = policy_output["action"]
        array = action.detach().cpu().numpy() if isinstance(action, torch.Tensor) else np.asarray(action)
        rows = len(array) if array.ndim else None
        if rows != len(self._ids):
            found = "no rows" if rows is None else f"{rows} rows"
            raise ActionError(
                f"action has {found} and {len(self._ids)} envs run: {self._ids.tolist()}; expected a row for "
                "each of these"
            )
        return array

    def _options(self, env_info: Any) -> list[dict[str, Any]] | None:
        """One dict per env."""
        if not hasattr(env_info, "keys"):
            raise ActionError(f"env_info is {env_info!r:.80}; expected a DictTensor or a dict of lists")
        columns = {key: _listed(env_info[key]) for key in env_info.keys()}  # noqa: SIM118 - of a TensorDict
        for key, column in columns.items():
            if column is None or len(column) != len(self.pool):
                found = "no list" if column is None else f"{len(column)} rows"
                raise ActionError(
                    f"env_info[{key!r}] has {found}; expected one for each of {len(self.pool)} envs"
                )
        if columns and self.infinite and not self.pool.config["keep_options"]:
            raise ConfigError("env_info is for autoresets, too: make the pool with keep_options=True")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or None

    def _moved(self, array: Any) -> Any:
        return torch.from_numpy(array).to(self._device)


def _check_pool(pool: Any, infinite: bool | None) -> bool:
    """Whether the pool's envs always run."""
    if not isinstance(pool, TuplePool):
        raise ConfigError(
            f"{pool!r:.80}: expected a list of envs or of functions, a task id, or a pool with the gym or "
            "gymnasium API"
        )
    config = pool.config
    if pool.is_async:
        raise ConfigError(
            f"batch_size={config['batch_size']} of {len(pool)} envs: rlstructures waits for all envs that "
            "run; make the pool with batch_size=0"
        )
    if config["infos"] == "list":
        raise ConfigError("infos='list': make the pool with infos='none', since no info is shown")
    wanted = ["disabled", "same_step"] if infinite is None else [("disabled", "same_step")[infinite]]
    if (mode := config["autoreset_mode"]) not in wanted:
        raise ConfigError(f"autoreset_mode={mode!r}: make the pool with {' or '.join(map(repr, wanted))}")
    return bool(mode == "same_step")


def _filled(array: Any, mask: Any, value: Any) -> Any:
    filled = array.copy()
    filled[mask] = value
    return filled


def _listed(column: Any) -> list[Any] | None:
    """The rows of a column of env_info as numbers and lists; None: there are none."""
    if isinstance(column, list | tuple):
        return [one.tolist() if hasattr(one, "tolist") else one for one in column]
    rows = column.tolist() if hasattr(column, "tolist") else None
    return rows if isinstance(rows, list) else None
