"""The engine's pool of one env: settings become its arguments, its worker processes are started with it.

The factory that builds an env runs on the env's worker: in this process as it is, in another as a pickle (by
value where no import would find it).
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from envpool_protocol import _core, origins
from envpool_protocol.errors import ConfigError, ForkedPoolError, PendingCallError, SpecError
from envpool_protocol.sources import Description, Source
from envpool_protocol.spaces import space_spec
from envpool_wrap.backends import Placement
from envpool_wrap.config import PoolConfig, seeds_of
from envpool_wrap.failures import raise_failures
from envpool_wrap.processes import Processes

RING_BYTES = 1 << 30  # most memory that batches held by the user may take before they are copied out
CLOSE_DEADLINE = 5.0  # seconds

Factory = Callable[[int], Any]


@dataclass
class OpenCore:
    """The engine's pool and the worker processes that belong to it."""

    pool: _core.Pool
    processes: Processes | None

    def close(self) -> tuple[bool, list[tuple[Any, ...]]]:
        """Close every env and end every worker: (whether all threads ended, failures of close hooks)."""
        start, timeout = time.monotonic(), CLOSE_DEADLINE
        try:
            return self.pool.close(timeout)
        finally:
            # Not when it was refused: the workers are in use, or belong to the process that forked.
            if self.processes is not None and self.pool.closed:
                self.processes.stop(max(0.0, timeout - (time.monotonic() - start)))

    def close_quietly(self) -> None:
        """`close` for whoever forgot to: nothing is raised where it is refused.

        That is in a forked process, and when a thread that the exit does not wait for is inside.
        """
        with contextlib.suppress(ForkedPoolError, PendingCallError):
            self.close()


def open_core(factory: Factory, module: ModuleType, config: PoolConfig, placement: Placement) -> OpenCore:
    """The engine's pool, every env built and seeded.

    Raises:
        EnvError: a constructor raised, or an env's spaces are not those that the module was generated for.
        WorkerDied: a worker process ended while it built its envs.
        PoolError: a worker process could not start.
    """
    seeds = seeds_of(config.seed, config.num_envs)
    pool = _core.Pool(
        module=module.engine_module,
        factory=factory,
        shape=_core.EngineShape(
            num_envs=config.num_envs,
            batch_size=config.rows,
            num_queues=0,  # settled by the pool, like num_blocks
            num_blocks=0,
            max_episode_steps=config.max_episode_steps or 2**31 - 1,
            autoreset=_core.Autoreset[config.autoreset_mode],
            keep_options=config.keep_options,
            timed=config.timeout is not None,
            spin_ns=placement.spin_ns,
        ),
        num_threads=placement.threads,
        num_processes=placement.processes,
        caller_works=placement.caller_works,
        thread_affinity_offset=config.thread_affinity_offset,
        ring_bytes=RING_BYTES,
    )
    opened = OpenCore(pool, None)
    try:
        if placement.processes:
            opened.processes = _start_processes(pool, factory, module, placement)
            pool.set_processes(opened.processes)
        failures = pool.build()
        if failures:
            raise_failures(failures)
    except BaseException:
        opened.close()
        raise
    for env, seed in enumerate(seeds):
        pool.set_seed(env, seed)
    return opened


def _start_processes(
    pool: _core.Pool, factory: Factory, module: ModuleType, placement: Placement
) -> Processes:
    arena_fd, inbox_fd, outbox_fds = pool.files()
    first = 1 if placement.caller_works else 0
    queues = range(first, first + placement.processes)
    return Processes(
        queues,
        orders={
            "module_name": module.__name__,
            "module_file": module.__file__,
            "factory": pickled(factory),
        },
        arena={"shape": pool.shape(), "arena_fd": arena_fd, "inbox_fd": inbox_fd},
        files=[arena_fd, inbox_fd],
        outboxes=dict(zip(queues, outbox_fds, strict=True)),
    )


def pickled(factory: Factory) -> bytes:
    """The factory for another process. Raises whatever a part of it that cannot be pickled raises."""
    import cloudpickle

    source = factory.source  # type: ignore[attr-defined]
    module = sys.modules.get(source.cls.__module__)
    by_value = module is not None and origins.is_imported_file(module)
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        data: bytes = cloudpickle.dumps(factory)
        return data
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)


def env_factory(source: Source, description: Description, config: PoolConfig) -> Factory:
    """`f(env_id)` that builds an env of a pool and checks its spaces."""
    kwargs_of = _env_kwargs(config)
    common = {}
    if config.render_mode is not None and _takes(source.cls, "render_mode"):
        common["render_mode"] = config.render_mode
    spec = description.spec

    def make_env(env_id: int) -> Any:
        env = source.make(env_id, **{**common, **kwargs_of(env_id)})
        for side, space, generated in (
            ("observation_space", env.observation_space, spec.obs),
            ("action_space", env.action_space, spec.action),
        ):
            if space_spec(space, "obs" if generated is spec.obs else "action") != generated:
                raise SpecError(
                    f"{side} of this env is {space}; {source.task_id} was generated for {_told(generated)}. "
                    "If the class changed, generate it again; a variant of it needs a name of its own: "
                    "register_env(..., name='Other')"
                )
        return env

    make_env.source = source  # type: ignore[attr-defined]
    return make_env


def _told(space: Any) -> str:
    return ", ".join(f"{leaf.name} {leaf.dtype.name}{leaf.shape}" for leaf in space.leaves)


def _env_kwargs(config: PoolConfig) -> Callable[[int], Mapping[str, Any]]:
    given = config.env_kwargs
    if given is None:
        return lambda env_id: {}
    if isinstance(given, Mapping):
        return lambda env_id: given
    if callable(given):
        return given  # type: ignore[no-any-return]
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == config.num_envs:
        return lambda env_id: given[env_id]
    size = f"a list of {len(given)}" if isinstance(given, Sequence) else repr(given)
    expected = f"a dict for all, a list of {config.num_envs} dicts, or f(env_id) -> dict"
    raise ConfigError(f"env_kwargs is {size}; expected {expected}")


def _takes(cls: type, parameter: str) -> bool:
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    return parameter in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
