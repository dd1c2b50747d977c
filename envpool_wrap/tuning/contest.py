"""A plain loop and several pools of the same env, side by side: they take turns in short rounds."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envpool_protocol.errors import EnvPoolError
from envpool_protocol.spaces import space_from_description
from envpool_wrap.config import PoolConfig
from envpool_wrap.core import env_factory
from envpool_wrap.engines import choose
from envpool_wrap.registry import Generated, face_of
from envpool_wrap.tuning.actions import batch, sampled
from envpool_wrap.tuning.loop import Loop
from envpool_wrap.tuning.meters import pss_bytes
from envpool_wrap.tuning.progress import Advance
from envpool_wrap.tuning.recording import LOOP, Contest, Trial
from envpool_wrap.tuning.turns import Turn, in_rounds, run_for, take_turn

_TURN = 0.1  # seconds; several steps of any but the slowest envs
LEAST_ROUNDS, _MOST_ROUNDS = 3, 31

Settings = Mapping[str, Any]
Actions = Sequence[Sequence[Any]]


def name_of(settings: Settings) -> str:
    """Settings of a pool in words: `process, 2 workers, batch_size 32`."""
    words = [settings["backend"]]
    if settings["backend"] != "inline":
        words.append(f"{settings['num_threads']} workers")
    if settings.get("batch_size"):
        words.append(f"batch_size {settings['batch_size']}")
    return ", ".join(words)


def auto_of(env: Generated, settings: Settings, num_envs: int) -> tuple[dict[str, Any], str]:
    """What `backend="auto"` chooses for so many envs, as settings, and why."""
    config = config_of({**settings, "backend": "auto"}, num_envs)
    factory = env_factory(env.source, env.description, config)
    placement, _ = choose(factory, env.description, env.module, config)
    workers = {} if placement.backend == "inline" else {"num_threads": placement.workers}
    return {"backend": placement.backend, **workers}, placement.why


def config_of(settings: Settings, num_envs: int) -> PoolConfig:
    """The settings of a pool that takes part: episodes go on by themselves, whatever is asked for later."""
    return PoolConfig.of({**settings, "num_envs": num_envs, "autoreset_mode": "next_step"})


def hold(
    env: Generated,
    settings: Settings,
    num_envs: int,
    contenders: Sequence[Settings],
    seconds: float,
    advance: Advance = lambda what, share: None,
) -> Contest:
    """Let the loop and a pool for each of `contenders` take turns for so many seconds.

    Making them comes on top, and each has at least one step in each of at least three rounds. A pool that
    cannot be made, or fails, is a trial with a `failure`; what an env of the loop raises is raised.

    Args:
        settings: of every pool; `contenders` add theirs.
    """
    actions = sampled(space_from_description(env.description.action_space, "gymnasium"), num_envs)
    auto, why = auto_of(env, settings, num_envs)
    with contextlib.ExitStack() as opened:
        advance(f"{num_envs} envs: the loop", 0.0)
        loop = _loop(env, settings, num_envs, actions, opened)
        entrants = [loop]
        for number, contender in enumerate(contenders, 1):
            name = name_of(contender)
            advance(f"{num_envs} envs: making {name}", 0.5 * number / (1 + len(contenders)))
            try:
                entrants.append(_pool(env, {**settings, **contender}, num_envs, actions, opened))
            except Exception as error:  # whatever a part of the env that has to be pickled raises
                entrants.append(_Entrant(failure=_told(error)))
            entrants[-1].name, entrants[-1].settings = name, contender
        _take_turns(entrants, seconds, lambda share: advance(f"{num_envs} envs: stepping", 0.5 + share / 2))
    names = [entrant.name for entrant in entrants]
    same_as_auto = name_of(auto) if name_of(auto) in names else ""
    return Contest(num_envs, loop.trial, [one.trial for one in entrants[1:]], same_as_auto, why)


@dataclass
class _Entrant:
    """One that takes turns: `run(times)` steps `rows` envs so many times. It fails once, and for good."""

    run: Callable[[int], None] = lambda times: None
    rows: int = 0
    pids: list[int] = field(default_factory=list)
    memory: int = 0
    failure: str = ""
    name: str = LOOP
    settings: Settings = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)

    def turn(self, seconds: float) -> Turn:
        """Step for so long. A pool whose env fails is out; what an env of the loop raises is raised."""
        try:
            taken = take_turn(self.run, self.rows, seconds, self.pids)
        except EnvPoolError as error:
            if self.name == LOOP:
                raise
            self.failure, taken = _told(error), Turn(0.0, 0.0)
        self.turns.append(taken)
        return taken

    @property
    def trial(self) -> Trial:
        """What is known of it."""
        if self.failure:
            return Trial(self.name, self.settings, failure=self.failure)
        rates, cpu = [turn.rate for turn in self.turns], [turn.cpu or 0.0 for turn in self.turns]
        return Trial(self.name, self.settings, rates, cpu, self.memory)


def _loop(
    env: Generated, settings: Settings, num_envs: int, actions: Actions, opened: contextlib.ExitStack
) -> _Entrant:
    config, pids = config_of(settings, num_envs), [os.getpid()]
    before = pss_bytes(os.getpid())
    loop = Loop(env_factory(env.source, env.description, config), env.description, config)
    opened.callback(loop.close)
    loop.reset()
    return _Entrant(_runner(loop.step, actions), num_envs, pids, _grown(before, pids))


def _pool(
    env: Generated, settings: Settings, num_envs: int, actions: Actions, opened: contextlib.ExitStack
) -> _Entrant:
    config, before = config_of(settings, num_envs), pss_bytes(os.getpid())
    pool = face_of("gym")(env.source, env.description, env.module, config)
    opened.callback(_close, pool)
    processes = pool._open.processes
    pids = [os.getpid(), *(processes.pids() if processes is not None else [])]
    batches = [batch(samples[: config.rows]) for samples in actions]
    run = _runner(_async_step(pool) if config.is_async else _sync_step(pool), batches)
    run_for(run, _TURN / 2)  # checks of the first steps, caches
    return _Entrant(run, config.rows, pids, _grown(before, pids))


def _grown(before: int, pids: Sequence[int]) -> int:
    return max(0, sum(map(pss_bytes, pids)) - before)


def _close(pool: Any) -> None:
    with contextlib.suppress(EnvPoolError):  # what a close hook raises is no matter here
        pool.close()


def _take_turns(entrants: Sequence[_Entrant], seconds: float, advance: Callable[[float], None]) -> None:
    fit = {entrant.name: entrant for entrant in entrants if not entrant.failure}
    rounds = min(_MOST_ROUNDS, max(LEAST_ROUNDS, int(seconds / (_TURN * len(fit)))))
    each = seconds / (rounds * len(fit))
    turns: dict[str, Callable[[], Turn]] = {
        name: functools.partial(entrant.turn, each) for name, entrant in fit.items()
    }
    for number, (name, _) in enumerate(in_rounds(turns, rounds), 1):
        if fit[name].failure:
            turns[name] = lambda: Turn(0.0)  # out
        advance(number / (rounds * len(fit)))


def _sync_step(pool: Any) -> Callable[[Any], Any]:
    pool.reset()
    step: Callable[[Any], Any] = pool.step
    return step


def _async_step(pool: Any) -> Callable[[Any], None]:
    """Sends what has come back, and receives what is done next."""
    pool.async_reset()
    ids = pool.recv()[-1]["env_id"]

    def step(actions: Any) -> None:
        nonlocal ids
        pool.send(actions, ids)
        ids = pool.recv()[-1]["env_id"]

    return step


def _runner(step: Callable[[Any], Any], batches: Sequence[Any]) -> Callable[[int], None]:
    cycle = itertools.cycle(batches)

    def run(times: int) -> None:
        for _ in range(times):
            step(next(cycle))

    return run


def _told(error: Exception) -> str:
    """The first line of what it says."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
