"""Pools of compiled envs: an array of records that the engine steps without Python (cpp_core/kernel_pool.h).

An ordinary env is made for each record, once: `__init__` fills in what the hooks start from. After that
Python sees an env only where it is asked to (`call`, `get_attr`, `render`): another one is made, given the
record, and what it leaves goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envpool_protocol import _core
from envpool_protocol.compiled.faults import decode
from envpool_protocol.compiled.state import read_state, state_dtype, unset_fields, write_state
from envpool_protocol.errors import ActionError, ConfigError, SpecError
from envpool_protocol.sources import Description
from envpool_wrap import access
from envpool_wrap.backends import Placement
from envpool_wrap.config import PoolConfig, seeds_of
from envpool_wrap.core import RING_BYTES, Factory, OpenCore, engine_shape
from envpool_wrap.failures import raise_failures

Failures = list[tuple[Any, ...]]


def are_wanted(module: ModuleType, config: PoolConfig, name: str) -> bool:
    """Whether a pool runs the compiled hooks of `module`.

    Raises:
        ConfigError: `compiled=True`, and there are none.
    """
    there = _core.has_kernel(module.engine_module)
    if config.compiled is True and not there:
        raise ConfigError(
            f"compiled=True, but the module of {name} has no compiled hooks; generate it with "
            "generate_envpool_wrap(..., compiled=True)"
        )
    return there and config.compiled is not False


class KernelCore:
    """What `_core.Pool` is to a pool, for compiled envs.

    Attributes:
        records: structured array of shape (num_envs,), one record per env. Of idle envs they may be written.
    """

    def __init__(
        self, factory: Factory, module: ModuleType, config: PoolConfig, placement: Placement
    ) -> None:
        self._factory = factory
        self._unseen = True
        self._checked = config.check is True
        self._cls: type = factory.source.target  # type: ignore[attr-defined]
        self.records = np.zeros(config.num_envs, state_dtype(self._cls))
        failures = self._fill(range(config.num_envs))
        if failures:
            raise_failures(failures)
        self._pool = _core.KernelPool(
            module=module.engine_module,
            records=self.records,
            decode=decode,
            shape=engine_shape(config, placement),
            checked=self._checked,
            num_threads=placement.threads,
            caller_works=placement.caller_works,
            thread_affinity_offset=config.thread_affinity_offset,
            ring_bytes=RING_BYTES,
        )
        self.send, self.reset = self._pool.send, self._pool.reset
        self.recv, self.step = self._pool.recv, self._pool.step
        if self._checked:
            self.recv, self.step = self._look_first(self.recv), self._look_first(self.step)
        self.refuse_pending, self.view, self.stats = (
            getattr(self._pool, name) for name in ("refuse_pending", "view", "stats")
        )
        self.seed, self.set_seed = self._pool.seed, self._pool.set_seed

    closed = property(lambda self: self._pool.closed)
    num_in_flight = property(lambda self: self._pool.num_in_flight)
    num_pending_batches = property(lambda self: self._pool.num_pending_batches)

    def close(self, timeout: float) -> tuple[bool, Failures]:
        """End the workers: (whether all ended in time, no failures)."""
        return self._pool.close(timeout), []

    def rebuild(self, env_id: Sequence[int]) -> Failures:
        """Begin anew with envs that failed; the failures of that."""
        failures = self._fill(self._pool.idle(env_id))
        self._pool.renew(list(env_id))
        return failures

    def apply(self, function: Callable[[Any], Any], env_id: Any) -> tuple[list[Any], Failures]:
        """`function(env)` of idle envs, here, each with its record: (results, failures)."""
        names = self.records.dtype.names or ()
        if isinstance(function, access.Write) and function.name.partition(".")[0] not in names:
            raise ActionError(
                f"compiled hooks know nothing of {function.name!r}; expected one of state_envpool: "
                f"{', '.join(names)}. Or make the pool with compiled=False"
            )
        results: list[Any] = []
        failures: Failures = []
        for row, env in enumerate(self._pool.idle(env_id)):
            try:
                instance = self._factory(env)
                read_state(self.records[env], instance)
                results.append(function(instance))
                write_state(instance, self.records[env])
            except Exception as error:  # whatever the env raises
                failures.append((env, row, None, "call", 0, None, error, None))
        return results, failures

    # ---- states ----

    def save(self, env_id: Any) -> NDArray[Any]:
        """Copies of idle envs' states, with where they are in their episodes: see `Pool.save_state`."""
        ids = self._pool.idle(env_id)
        saved = np.empty(len(ids), self._saved)
        saved["state"] = self.records[ids]
        saved["elapsed_step"], saved["over"] = self._pool.words(ids)
        return saved

    def load(self, saved: Any, env_id: Any) -> None:
        """Give idle envs states that `save` returned, one each or one for all."""
        ids = self._pool.idle(env_id)
        states = np.atleast_1d(np.asarray(saved))
        if states.dtype != self._saved or states.shape not in ((1,), (len(ids),)):
            raise ActionError(
                f"load_state: expected what save_state() returned, 1 or {len(ids)} states of this env; found "
                f"dtype {states.dtype!s:.60}, shape {states.shape}"
            )
        states = np.broadcast_to(states, len(ids))
        self.records[ids] = states["state"]
        self._pool.set_words(ids, states["elapsed_step"].tolist(), states["over"].tolist())

    @property
    def _saved(self) -> np.dtype[Any]:
        return np.dtype([("state", self.records.dtype), ("elapsed_step", np.int32), ("over", np.bool_)])

    def _look_first(self, receive: Callable[..., Any]) -> Callable[..., Any]:
        """`receive`, and once an env was reset: whether it has set every field that it declares."""

        def receive_and_look(*args: Any) -> Any:
            received = receive(*args)
            if self._unseen:
                self._unseen = False
                self._look_for_unset()
            return received

        return receive_and_look

    def _look_for_unset(self) -> None:
        _, over = self._pool.words(range(len(self.records)))
        begun = np.flatnonzero(~over)
        unset = unset_fields(self._cls, self.records[begun[0]]) if len(begun) else []
        if unset:
            raise SpecError(
                f"{self._cls.__qualname__} declares {', '.join(unset)} in state_envpool, and neither "
                "__init__ nor _reset_envpool gives it a value; set it in one of them"
            )

    def _fill(self, envs: Any) -> Failures:
        failures: Failures = []
        for row, env in enumerate(envs):
            try:
                write_state(self._factory(env), self.records[env], poison=self._checked)
            except Exception as error:  # whatever a constructor raises
                failures.append((env, row, None, "__init__", 0, None, error, None))
        return failures


def open_kernel(
    factory: Factory, description: Description, module: ModuleType, config: PoolConfig, placement: Placement
) -> OpenCore:
    """The engine's pool of compiled envs, each filled and seeded. Raises EnvError: a constructor raised."""
    seeds = seeds_of(config.seed, config.num_envs)  # before anything is built
    core = KernelCore(factory, module, config, placement)
    for env, seed in enumerate(seeds):
        core.set_seed(env, seed)
    return OpenCore(core, None)
