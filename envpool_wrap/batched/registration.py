"""Simulators under task ids, beside the envs that were generated."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from envpool_protocol import records
from envpool_protocol.errors import ConfigError, DuplicateEnvError, RegistrationError, SpecError
from envpool_wrap import registry
from envpool_wrap.batched.episodes import mode_name, published_mode

FACES = {
    "gym": ("envpool_wrap.batched.pool", "BatchedPool"),
    "gymnasium": ("envpool_wrap.batched.faces", "BatchedGymnasiumPool"),
    "dm": ("envpool_wrap.batched.faces", "BatchedDMPool"),
}
_POOL = ("array", "autoreset_mode", "copy")  # settings that are the pool's, not the simulator's


def register_batched(task_id: str, factory: Callable[..., Any], **defaults: Any) -> str:
    """Register a simulator in this interpreter, so that `envpool_wrap.make(task_id, ...)` finds it.

    `make` hands its settings to `factory`, except for the pool's: `array`, `copy` and `autoreset_mode` (see
    BatchedPool), `batch_size`, and `seed`, which is that of the first reset (default 42; None: a fresh one).
    A factory that names `seed` or `autoreset_mode` is given these, too. Gymnasium's `make_vec` finds it as
    well.

    Args:
        task_id: any name that no generated env has.
        factory: returns a `gymnasium.vector.VectorEnv`, such as its class.
        **defaults: settings for those that `make` does not give.

    Raises:
        RegistrationError: not a name, or nothing that can be called.
        DuplicateEnvError: a generated env, or another factory, has this task id.
    """
    if not isinstance(task_id, str) or not task_id:
        raise RegistrationError(f"task id {task_id!r}: expected a name")
    if not callable(factory):
        kind = type(factory).__name__
        raise RegistrationError(
            f"{task_id}: expected a class or function that makes a VectorEnv, found {kind}"
        )
    made = Registered(task_id, factory, defaults)
    known = registry.MAKERS.get(task_id)
    if known is not None and _place(getattr(known, "factory", known)) != _place(factory):
        raise DuplicateEnvError(
            f"{task_id!r} stands for {known!r} already; register {made!r} under another name"
        )
    if known is None and task_id in records.task_ids():
        raise DuplicateEnvError(f"{task_id!r} is a generated env; register {made!r} under another name")
    registry.MAKERS[task_id] = made
    from gymnasium.envs.registration import registry as ids

    from envpool_wrap.integrations.gymnasium import enter

    if task_id not in ids:  # Gymnasium's own envs keep their ids there
        enter(task_id)
    return task_id


@dataclass(frozen=True)
class Registered:
    """A factory and its settings."""

    task_id: str
    factory: Callable[..., Any]
    defaults: Mapping[str, Any]

    def __call__(self, env_type: str, config: Mapping[str, Any]) -> Any:
        """The pool behind a face. Raises ConfigError, SpecError, and whatever the factory raises."""
        face = registry.face_of(env_type, FACES)
        settings = {**self.defaults, **config}
        seed, rows = settings.pop("seed", 42), settings.pop("batch_size", 0)
        seed = secrets.randbits(31) if seed is None else seed
        of_pool = {key: settings.pop(key) for key in _POOL if key in settings}
        wanted = settings.get("num_envs")
        venv = self.factory(**self._arguments(settings, seed, of_pool))
        try:
            if wanted is not None and venv.num_envs != wanted:
                raise SpecError(f"{self!r} made {venv.num_envs} envs; num_envs={wanted} was asked for")
            self._check_mode(venv, of_pool)
            pool = face(venv, seed=seed, **of_pool)
            if rows not in (0, pool.num_envs):
                raise ConfigError(
                    f"batch_size={rows}: {self.task_id} steps its {pool.num_envs} envs at once; leave it "
                    "out, and make several pools, to have some envs wait while others step"
                )
        except BaseException:
            getattr(venv, "close", lambda: None)()
            raise
        pool._tell(settings)
        return pool

    def _arguments(
        self, settings: Mapping[str, Any], seed: Any, of_pool: Mapping[str, Any]
    ) -> dict[str, Any]:
        arguments = dict(settings)
        try:
            signature = inspect.signature(self.factory)
        except (TypeError, ValueError):  # one in C tells no signature
            return arguments
        named = {"seed": seed, **{key: of_pool[key] for key in of_pool if key == "autoreset_mode"}}
        arguments |= {key: value for key, value in named.items() if key in signature.parameters}
        try:
            signature.bind(**arguments)
        except TypeError as error:
            takes = ", ".join(signature.parameters) or "no settings"
            pools = ", ".join((*_POOL, "seed", "batch_size"))
            raise ConfigError(f"{self!r}: {error}. It takes {takes}; the pool {pools}") from None
        return arguments

    def _check_mode(self, venv: Any, of_pool: Mapping[str, Any]) -> None:
        """`make(autoreset_mode=...)` asks for a mode; a simulator that has another one cannot be told."""
        asked, has = of_pool.get("autoreset_mode"), published_mode(venv)
        if asked is not None and has is not None and mode_name(asked) != has:
            raise ConfigError(
                f"autoreset_mode={asked!r}: {self!r} resets by {has!r}, and takes no autoreset_mode to "
                "change that"
            )

    def __repr__(self) -> str:
        return f"{_place(self.factory)}"


def _place(factory: Any) -> str:
    """Where a factory is defined, by which a newer version of it is known."""
    name = getattr(factory, "__qualname__", type(factory).__qualname__)
    return f"{getattr(factory, '__module__', '?')}.{name}"
