"""What ElegantRL reads off an env, over a pool or VectorEnv: the base of both of its faces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import envpool_wrap
from envpool_protocol.errors import ConfigError, EnvError, WorkerDied
from envpool_wrap.integrations.closing import closed_on_error
from envpool_wrap.integrations.elegantrl_args import MAX_STEP, Dims
from envpool_wrap.integrations.pending import drop_pending
from envpool_wrap.pool import Pool


class ElegantRLFace:
    """An env with ElegantRL's attributes.

    Attributes:
        env_name: as told, else what the envs are called.
        num_envs: how many envs.
        max_step: as told, else after how many steps episodes are truncated, else 12345.
        state_dim: see `Dims`.
        action_dim: see `Dims`.
        if_discrete: see `Dims`.
        dims: the three before.
        pool: what steps the envs; `close` closes it.
    """

    settings: ClassVar[dict[str, Any]]  # of pools that are made

    def __init__(self, envs: Any, env_name: str | None, max_step: int | None, config: dict[str, Any]) -> None:
        is_made = isinstance(envs, str)
        if config and not is_made:
            raise ConfigError(f"settings {list(config)} for a pool that is there; give them to make()")
        self.pool: Any = envpool_wrap.make_gym(envs, **{**self.settings, **config}) if is_made else envs
        with closed_on_error(self.pool if is_made else None):
            self._check_pool()
            self._known = known = _known(self.pool)
            self.dims = Dims.of_spaces(known.observation_space, known.action_space)
        self.num_envs = int(self.pool.num_envs)
        self.env_name = env_name or known.env_name
        self.max_step = int(max_step or known.max_step or MAX_STEP)
        self.state_dim, self.action_dim = self.dims.state_dim, self.dims.action_dim
        self.if_discrete = self.dims.if_discrete
        self._first_action = int(getattr(known.action_space, "start", 0))

    def _check_pool(self) -> None:
        """Raise ConfigError if the pool does otherwise than ElegantRL expects."""
        raise NotImplementedError

    def _pack(self, result: tuple[Any, ...]) -> tuple[Any, ...]:
        """The face's result from that of the pool's `reset` or `step`."""
        raise NotImplementedError

    def _ask(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return self._pack(call(*args, **kwargs))
        except (EnvError, WorkerDied) as error:
            if error.result is not None:
                error.result = self._pack(error.result)
            raise

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        """Start new episodes: `(state, info)`. Arguments and errors are those of the pool's `reset`.

        A step that was left behind by a timeout or Ctrl-C is dropped.
        """
        if isinstance(self.pool, Pool):
            drop_pending(self.pool)
        return self._ask(self.pool.reset, seed=seed, options=options)

    def close(self) -> None:
        """Close the pool. May be called again."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pool!r})"


class _Known(NamedTuple):
    """What a pool or VectorEnv says of its envs."""

    observation_space: Any
    action_space: Any
    env_name: str
    max_step: int | None
    device: Any


def _known(envs: Any) -> _Known:
    if isinstance(envs, Pool):
        of, limit = envs.spec, envs.config["max_episode_steps"]
        return _Known(
            of.gymnasium_observation_space, of.gymnasium_action_space, envs._name, limit, device=None
        )
    inner = getattr(envs, "venv", envs)  # what a BatchedPool is of
    return _Known(
        envs.single_observation_space,
        envs.single_action_space,
        getattr(inner, "env_name", type(inner).__name__),
        getattr(inner, "max_step", None),
        getattr(inner, "device", None),
    )
