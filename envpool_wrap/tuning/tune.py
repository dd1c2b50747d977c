"""Measure an env beside a plain loop and say what to use for it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from envpool_protocol.errors import ConfigError, PoolError
from envpool_protocol.manager import EnvManager
from envpool_protocol.spaces import space_from_description
from envpool_wrap import backends, registry
from envpool_wrap.config import PoolConfig
from envpool_wrap.core import Factory, env_factory, pickled
from envpool_wrap.kernels import are_wanted
from envpool_wrap.tuning.actions import sampled
from envpool_wrap.tuning.advice import advise, worth_trying
from envpool_wrap.tuning.contest import LEAST_ROUNDS, auto_of, config_of, hold
from envpool_wrap.tuning.loop import Loop
from envpool_wrap.tuning.progress import Advance, part, progress_bar
from envpool_wrap.tuning.recording import Contest, EnvTimings, Machine, Recording
from envpool_wrap.tuning.report import Report
from envpool_wrap.tuning.stopwatch import time_envs

_ALONE = 0.25  # of the time: envs in a loop; the rest is for the pools
_SIZES: Sequence[int] = (8, 64)  # what is tried where the number of envs is not given


def tune(
    env: Any, num_envs: int | None = None, seconds: float = 10.0, env_type: str = "gym", **config: Any
) -> Report:
    """Find out which backend, how many workers and how many envs suit an env on this machine.

    Steps the env with random actions: first in a plain Python loop, then loop and pools in turns. Shows a bar
    on a terminal where rich is installed.

    Args:
        env: a task id, or what `register_env` takes; its module is generated if it was not.
        num_envs: how many envs; None: 8 and 64 are tried.
        seconds: for which to measure. To make envs and pools comes on top, and each pool steps at least
            three times, however slow that is.
        env_type: of the pool to be made.
        **config: further settings of the pool. What they fix, such as `backend`, is not varied.

    Raises:
        UnknownEnvError, RegistrationError, BuildError: as `make` and `generate_envpool_wrap`.
        ConfigError: a bad setting.
        PoolError: no pool of this env could be measured; the message has what each said.
        Exception: what the env raises in the loop, with a note that says which env.
    """
    registry.refuse_pools("tune()")
    registry.face_of(env_type)
    if isinstance(seconds, bool) or not 0 < seconds < math.inf:
        raise ConfigError(f"seconds={seconds!r}: expected a number above 0")
    if num_envs is None and config.get("batch_size"):
        raise ConfigError(f"batch_size={config['batch_size']} without num_envs; give both, or neither")
    PoolConfig.of({**config, **({} if num_envs is None else {"num_envs": num_envs})})
    source = EnvManager.source(env)
    task_id = source.task_id
    if not source.travels:
        raise ConfigError(
            f"{task_id} is {source.label}; tune makes envs of its own: give a class or function"
        )
    found = registry.find(task_id)
    with progress_bar() as advance:
        recording = record(found, num_envs, seconds, config, advance)
    if not any(contest.finished for contest in recording.contests):
        told = {f"{one.name}: {one.failure}" for contest in recording.contests for one in contest.trials}
        raise PoolError(f"no pool of {task_id} could be measured: {'; '.join(sorted(told))}")
    advice = advise(recording, {"env_type": env_type, **config})
    return Report(task_id, recording=recording, **vars(advice))


def record(
    found: registry.Generated,
    num_envs: int | None,
    seconds: float,
    config: dict[str, Any],
    advance: Advance = lambda what, share: None,
) -> Recording:
    """Measure an env: alone, then beside pools."""
    machine = Machine(backends.cores(), backends.has_gil(), backends.has_worker_processes())
    sizes = [num_envs] if num_envs else _SIZES
    advance("the env in a plain loop", 0.0)
    env = _alone(found, sizes[0], machine, seconds * _ALONE, config)
    contests: list[Contest] = []
    for number, size in enumerate(sizes):
        auto, _ = auto_of(found, config, size)
        contenders = worth_trying(env, machine, size, config, auto)
        if contests and _cost(env, size) * (1 + len(contenders)) > seconds:
            break
        span = (1 - _ALONE) / len(sizes)
        one = part(advance, _ALONE + number * span, span)
        contests.append(hold(found, config, size, contenders, seconds * span, one))
    return Recording(found.source.task_id, machine, env, contests)


def _cost(env: EnvTimings, num_envs: int) -> float:
    """Seconds to make so many envs and step them as often as is needed at least."""
    return num_envs * (env.make_seconds + LEAST_ROUNDS * env.step_us["mean"] / 1e6)


def _alone(
    found: registry.Generated, num_envs: int, machine: Machine, seconds: float, config: dict[str, Any]
) -> EnvTimings:
    settings = config_of(settings=config, num_envs=num_envs)
    factory = env_factory(found.source, found.description, settings)
    start = time.perf_counter()
    loop = Loop(factory, found.description, settings)
    made = time.perf_counter() - start
    try:
        space = space_from_description(found.description.action_space, "gymnasium")
        workers = min(machine.cores, num_envs)
        timings = time_envs(loop, sampled(space, num_envs), found.description, workers, seconds)
    finally:
        loop.close()
    return replace(
        timings,
        make_seconds=made / num_envs,
        cannot_travel=_why_not_pickled(factory),
        compiled=are_wanted(found.module, settings, found.description.spec.name),
    )


def _why_not_pickled(factory: Factory) -> str:
    try:
        pickled(factory)
    except Exception as error:  # whatever a part of the env's class or arguments raises
        return str(error).partition("\n")[0]
    return ""
