"""Envs in Ray actors, on one machine or many, behind the pool API.

pool = RayEnvPool(make_env, num_workers=4, envs_per_worker=16)      worker w has the envs 16 w to 16 w + 15
envs = RayGymnasiumPool(make_env, 4, 16)                            the same as Gymnasium's VectorEnv,
pool = RayDMPool(make_env, 4, 16)                                   with batches of dm_env.TimeStep,
vec_env = WrapperRayVecEnv(make_and_seed, 4, 16)                    and as Stable-Baselines3's VecEnv
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from envpool_protocol.errors import ConfigError
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import Description, Source, source_of
from envpool_wrap.backends import Placement
from envpool_wrap.config import PoolConfig, seeds_of
from envpool_wrap.core import OpenCore, check_settings, pickled
from envpool_wrap.faces.dm import DMPool
from envpool_wrap.faces.gym import GymPool
from envpool_wrap.faces.gymnasium import GymnasiumPool
from envpool_wrap.imports import needs
from envpool_wrap.integrations.closing import closed_on_error
from envpool_wrap.pool import Pool

with needs("ray", ray="2.40"):
    import ray  # noqa: F401

from envpool_wrap.actors import cluster
from envpool_wrap.actors.core import ActorCore
from envpool_wrap.actors.host import Plan
from envpool_wrap.actors.workers import Staff, Worker, start


class OnActors(Pool):
    """What pools have in common whose envs are in Ray actors, whichever face they have.

    Each actor has a pool of its own for `envs_per_worker` envs, and steps them one after the other, unless
    `backend` says otherwise. Row `w * envs_per_worker + k` is env k of worker w, everywhere. A synchronous
    pool returns all rows; an asynchronous one those of the workers that are ready first.

    An env that raises is an `EnvError`, a dead actor a `WorkerDied`, as in any pool. Sending to an env of a
    dead actor replaces that, and its envs start afresh; with `on_error="restart"` nothing is raised at all.
    """

    def __init__(
        self,
        make_env: Any,
        num_workers: int,
        envs_per_worker: int,
        *,
        batch_size: int = 0,
        seed: Any = 42,
        actor_options: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        on_error: str = "raise",
        max_restarts: int = 10,
        backend: str = "inline",
        name: str | None = None,
        **config: Any,
    ) -> None:
        """Start the actors and build all envs. Ray is started on this machine, if there is none.

        Args:
            make_env: `f(row)` that returns an env of any kind; it is called once for each row, in the row's
                actor. Or an id that gymnasium knows, such as `"CartPole-v1"`.
            num_workers: how many actors.
            envs_per_worker: how many envs each of them has.
            batch_size: rows of one `recv`, a multiple of `envs_per_worker`; 0: all, which is synchronous.
            seed: int s → env i gets s + i; see `PoolConfig`.
            actor_options: for `.options()` of each actor, beside what is the default:
                `{"num_cpus": 1, "scheduling_strategy": "SPREAD"}`.
            timeout: seconds that one `recv` may take, or None.
            on_error: `"raise"`, or `"restart"`: a failed env or actor is replaced, episodes end truncated.
            max_restarts: how often one env may be restarted before its error is raised after all.
            backend: where an actor steps its envs: `"inline"`; `"thread"` or `"process"` with `num_threads`
                workers, by default as many as it has CPUs.
            name: what messages call these envs.
            **config: see `envpool_wrap.config.PoolConfig`.

        Raises:
            ConfigError: a bad setting, or the cluster has no room for the actors.
            RegistrationError, ProtocolError: `make_env` is nothing that makes envs.
            EnvError: an env could not be built.
            SpecError: envs whose spaces differ, or are not supported.
            PoolError: an actor could not start.
        """
        given = {"batch_size": batch_size, "seed": seed, "timeout": timeout, "backend": backend}
        given |= {"on_error": on_error, "max_restarts": max_restarts}
        settings = _settings(num_workers, envs_per_worker, given | config)
        source = _source(make_env, name)
        check_settings(settings, source)
        self._seeds = seeds_of(settings.seed, settings.num_envs)
        self.actor_options = cluster.options_of(actor_options)
        cpus = float(self.actor_options["num_cpus"] or 0)
        staff = Staff(
            pickled(Plan(source, settings)), self.actor_options, settings.num_threads or max(1, int(cpus))
        )
        cluster.connect(cpus * num_workers)
        self._workers = [
            Worker(number, range(number * envs_per_worker, (number + 1) * envs_per_worker), staff)
            for number in range(num_workers)
        ]
        try:
            description = start(self._workers, lambda worker: [self._seeds[row] for row in worker.rows])[0]
            super().__init__(source, description, prebuilt_module(description), settings)
        except BaseException:
            for worker in self._workers:
                worker.end()
            raise

    def _start(
        self, source: Source, description: Description, module: ModuleType, config: PoolConfig
    ) -> tuple[Placement, OpenCore]:
        workers = len(self._workers)
        why = f"{workers} actors with {config.num_envs // workers} envs each, {config.backend}"
        placement = Placement("ray", 0, workers, False, 0, why)
        core: Any = ActorCore(self._workers, description, module, config, self._seeds)
        return placement, OpenCore(core, None)

    @property
    def actors(self) -> list[Any]:
        """Ray's handle of each worker's actor; None where it died."""
        return [worker.actor for worker in self._workers]

    @property
    def config(self) -> dict[str, Any]:
        """The settings; `worker_backend` and `num_threads` are those of each actor's own pool."""
        own = {
            "num_workers": len(self._workers),
            "envs_per_worker": len(self._workers[0].rows),
            "actor_options": self.actor_options,
            "worker_backend": self._config.backend,
            "num_threads": self._config.num_threads,
        }
        return {**super().config, **own}


class RayEnvPool(OnActors, GymPool):
    """A pool whose envs are in Ray actors, with EnvPool's gym API: see `OnActors` and `GymPool`."""


class RayGymnasiumPool(OnActors, GymnasiumPool):
    """The same as a `gymnasium.vector.VectorEnv`: see `OnActors` and `GymnasiumPool`."""


class RayDMPool(OnActors, DMPool):
    """The same with the dm_env API: see `OnActors` and `DMPool`."""


def WrapperRayVecEnv(
    make_and_seed: Callable[[int], Any], number_of_workers: int, envs_per_worker: int, **config: Any
) -> Any:
    """A `RayEnvPool` as Stable-Baselines3's `VecEnv`: equal to its `DummyVecEnv` of the same envs.

    Args:
        make_and_seed: `f(i)` that returns env i, from 0 to the number of envs - 1. It alone seeds the envs,
            unless `seed` is given: an int s gives env i the seed s + i at its first reset.
        number_of_workers: how many actors.
        envs_per_worker: how many envs each of them has.
        **config: see `RayEnvPool`.

    Raises:
        EnvPoolError: what `RayEnvPool` and `SB3VecEnv` raise.
    """
    from envpool_wrap.integrations.sb3 import SB3VecEnv

    unseeded = [None] * (number_of_workers * envs_per_worker)
    given = {"seed": unseeded, "autoreset_mode": "same_step", **config}
    pool = RayEnvPool(make_and_seed, number_of_workers, envs_per_worker, **given)
    with closed_on_error(pool):
        return SB3VecEnv(pool)


def _settings(num_workers: int, envs_per_worker: int, given: Mapping[str, Any]) -> PoolConfig:
    for name, value in (("num_workers", num_workers), ("envs_per_worker", envs_per_worker)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name}={value!r}: expected an int of at least 1")
    if "num_envs" in given:
        raise ConfigError("num_envs is num_workers * envs_per_worker; leave it out")
    settings = PoolConfig.of({**given, "num_envs": num_workers * envs_per_worker})
    if settings.batch_size % envs_per_worker:
        raise ConfigError(
            f"batch_size={settings.batch_size} with envs_per_worker={envs_per_worker}: expected a multiple, "
            "since the envs of a worker are ready together"
        )
    return settings


def _source(make_env: Any, name: str | None) -> Source:
    own = getattr(make_env, "__name__", "<lambda>")
    if isinstance(make_env, type):  # called with the row, as a function is
        make_env = functools.partial(make_env)
    nameless = callable(make_env) and own == "<lambda>"
    return source_of(make_env, name or ("make_env" if nameless else own if callable(make_env) else None))
