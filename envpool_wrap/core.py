"""The engine's pool of one env: settings become its arguments, its worker processes are started with it.

The factory that builds an env runs on the env's worker: in this process as it is, in another as a pickle (by
value where no import would find it).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import ModuleType
from typing import Any

from envpool_protocol import _core
from envpool_protocol.checks import ALWAYS
from envpool_protocol.descriptions import describe_env
from envpool_protocol.envpool_protocol import EnvPoolProtocol
from envpool_protocol.errors import ConfigError, ForkedPoolError, PendingCallError, SpecError
from envpool_protocol.sources import Description, Source
from envpool_protocol.spaces import space_bounds, space_from_description
from envpool_protocol.spec import EnvSpec
from envpool_wrap.backends import Placement
from envpool_wrap.config import PoolConfig, seeds_of
from envpool_wrap.failures import raise_failures
from envpool_wrap.modules import reference_to
from envpool_wrap.processes import Processes

RING_BYTES = 1 << 30  # most memory that batches held by the user may take before they are copied out
CLOSE_DEADLINE = 5.0  # seconds
# The setting `check` → how many of an env's steps have their observations checked.
CHECK_STEPS = {"auto": 100, True: ALWAYS, False: 0}

Factory = Callable[[int], Any]


@dataclass
class OpenCore:
    """The engine's pool and the worker processes that belong to it."""

    pool: Any  # _core.Pool, or envpool_wrap.kernels.KernelCore
    processes: Processes | None

    def close(self) -> tuple[bool, list[tuple[Any, ...]]]:
        """Close every env and end every worker: (whether all threads ended, failures of close hooks)."""
        start, timeout = time.monotonic(), CLOSE_DEADLINE
        try:
            ended: tuple[bool, list[tuple[Any, ...]]] = self.pool.close(timeout)
            return ended
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


def open_core(
    factory: Factory, description: Description, module: ModuleType, config: PoolConfig, placement: Placement
) -> OpenCore:
    """The engine's pool, every env built and seeded.

    Raises:
        EnvError: a constructor raised, or an env's spaces are not those that the module was generated for.
        WorkerDied: a worker process ended while it built its envs.
        PoolError: a worker process could not start.
    """
    seeds = seeds_of(config.seed, config.num_envs)
    rules = row_rules(description, config, placement)
    pool = _core.Pool(
        module=module.engine_module,
        factory=factory,
        rules=_core.RowRules(**rules),
        shape=engine_shape(config, placement),
        num_threads=placement.threads,
        num_processes=placement.processes,
        caller_works=placement.caller_works,
        thread_affinity_offset=config.thread_affinity_offset,
        ring_bytes=RING_BYTES,
    )
    opened = OpenCore(pool, None)
    try:
        if placement.processes:
            opened.processes = _start_processes(pool, factory, module, rules, placement)
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


def engine_shape(config: PoolConfig, placement: Placement) -> _core.EngineShape:
    """What the engine lays its memory out by, and the rules of an episode."""
    return _core.EngineShape(
        num_envs=config.num_envs,
        batch_size=config.rows,
        num_queues=0,  # settled by the pool, like num_blocks
        num_blocks=0,
        max_episode_steps=config.max_episode_steps or 2**31 - 1,
        autoreset=_core.Autoreset[config.autoreset_mode],
        keep_options=config.keep_options,
        timed=config.timeout is not None,
        spin_ns=placement.spin_ns,
    )


def row_rules(description: Description, config: PoolConfig, placement: Placement) -> dict[str, Any]:
    """The arguments of `_core.RowRules`, as every process of the pool is given them."""
    return {
        "check_steps": CHECK_STEPS[config.check],
        "bounds": space_bounds(description.observation_space),
        "keep_infos": config.infos != "none",
        "watch_random": placement.threads > 0 and placement.workers > 1,
    }


def _start_processes(
    pool: _core.Pool, factory: Factory, module: ModuleType, rules: dict[str, Any], placement: Placement
) -> Processes:
    arena_fd, inbox_fd, outbox_fds = pool.files()
    first = 1 if placement.caller_works else 0
    queues = range(first, first + placement.processes)
    return Processes(
        queues,
        orders={"module": reference_to(module), "factory": pickled(factory)},
        arena={"shape": pool.shape(), "rules": rules, "arena_fd": arena_fd, "inbox_fd": inbox_fd},
        files=[arena_fd, inbox_fd],
        outboxes=dict(zip(queues, outbox_fds, strict=True)),
    )


def pickled(factory: Any) -> bytes:
    """A factory for another process.

    Raises whatever a part of it that cannot be pickled raises.
    """
    from envpool_wrap import pickles  # with cloudpickle, which a pool in one process does not need

    return pickles.dumps(factory)


def env_factory(source: Source, description: Description, config: PoolConfig) -> Factory:
    """`f(env_id)` that builds an env of a pool and checks that it is as described."""
    build = env_maker(source, config)
    described: tuple[Any, ...] = ()  # the class and the spaces of the env that was looked at last

    def make_env(env_id: int) -> Any:
        nonlocal described
        env = build(env_id)
        facts = _class_and_spaces(env)
        if not described or any(one is not other for one, other in zip(facts, described, strict=False)):
            check_described(env, env_id, description, source)
            described = facts
        return env

    make_env.source = source  # type: ignore[attr-defined]
    return make_env


def env_maker(source: Source, config: PoolConfig) -> Factory:
    """`f(env_id)` that builds an env with the arguments that the settings name."""
    check_settings(config, source)
    kwargs_of = _env_kwargs(config)
    common = {}
    if config.render_mode is not None and source.takes("render_mode"):
        common["render_mode"] = config.render_mode
    return lambda env_id: source.make(env_id, **{**common, **kwargs_of(env_id)})


def _class_and_spaces(env: Any) -> tuple[Any, ...]:
    """All that the description of an env with hooks follows from; of others, something new each time."""
    if not isinstance(env, EnvPoolProtocol):
        return (object(),)
    return (
        type(env),
        *(getattr(env, name, None) for name in ("observation_space", "action_space", "info_space")),
    )


def check_settings(config: PoolConfig, source: Source) -> None:
    """Raise ConfigError for settings that do not go with this source."""
    if source.num_envs not in (None, config.num_envs):
        found = f"num_envs={config.num_envs} for {source.label}"
        raise ConfigError(f"{found}; expected {source.num_envs}, or leave num_envs out")
    if config.env_kwargs is not None and not source.takes_kwargs:
        raise ConfigError(f"env_kwargs for {source.label}, which take no arguments; leave env_kwargs out")


def check_described(env: Any, env_id: int, description: Description, source: Source) -> None:
    """Whether an env is as the description that its module was made for, bounds of spaces included.

    Raises:
        SpecError: it differs; the message has both spaces.
        ProtocolError: it is no env.
    """
    found = replace(describe_env(env, source.name, description), compiled=description.compiled)
    if found == description:
        return
    for side in ("observation_space", "action_space", "info_space"):
        if getattr(found, side) != getattr(description, side):
            now, then = (
                getattr(d, side) and space_from_description(getattr(d, side), d.library)
                for d in (found, description)
            )
            raise SpecError(f"{side} of env {env_id} is {now}; {source.task_id} has {then}. {_VARIANT}")
    names = [field.name for field in fields(EnvSpec)]
    pairs = [(name, getattr(found.spec, name), getattr(description.spec, name)) for name in names]
    told = ", ".join(f"{name} {now}, not {then}" for name, now, then in pairs if now != then)
    raise SpecError(f"env {env_id} differs from {source.task_id}: it has {told}. {_VARIANT}")


_VARIANT = (
    "All envs of a pool have the same spaces. If the env changed, generate it again; a variant of it needs a "
    "name of its own: register_env(..., name='Other')"
)


def _env_kwargs(config: PoolConfig) -> Callable[[int], Mapping[str, Any]]:
    """`f(env_id)`: the constructor arguments of that env."""
    given = config.env_kwargs
    if given is None:
        return lambda env_id: {}
    if isinstance(given, Mapping):
        return lambda env_id: given
    if callable(given):
        return lambda env_id: _as_arguments(given(env_id), env_id)
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    if is_list and len(given) == config.num_envs:
        each = [_as_arguments(one, env_id) for env_id, one in enumerate(given)]
        return lambda env_id: each[env_id]
    size = f"a list of {len(given)}" if is_list else repr(given)
    expected = f"a dict for all, a list of {config.num_envs} dicts, or f(env_id) -> dict"
    raise ConfigError(f"env_kwargs is {size}; expected {expected}")


def _as_arguments(given: Any, env_id: int) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"env_kwargs of env {env_id} is {given!r}; expected a dict")
    return given
