"""The actors of a pool: placed, built, asked in turn, replaced when they died."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from envpool_protocol.errors import PoolError, SpecError
from envpool_protocol.sources import Description
from envpool_protocol.spaces import space_from_description
from envpool_wrap import letters
from envpool_wrap.actors import lanes
from envpool_wrap.actors.cluster import check_room
from envpool_wrap.actors.host import Host
from envpool_wrap.actors.lanes import SHUT_DOWN, ActorGone, Lane
from envpool_wrap.actors.rows import Arrays, Element
from envpool_wrap.config import Seeds
from envpool_wrap.failures import raise_failures

START_DEADLINE = 120.0  # seconds for actors to be placed, import what they need and build their envs


@dataclass
class Question:
    """One thing that a worker is to do, and who is told.

    Attributes:
        name, args, arrays: see `Host.do`.
        landed: called with its value and arrays; or
        failed: with the error, an `ActorGone` if the worker died.
    """

    name: str
    args: tuple[Any, ...]
    landed: Callable[[Any, Arrays], None]
    failed: Callable[[Exception], None]
    arrays: Arrays = ()


@dataclass(frozen=True)
class Staff:
    """What all workers of a pool have in common.

    Attributes:
        plan: how envs are made (a pickled `Plan`).
        options: of each actor.
        threads: of a worker's own pool, where that has any.
    """

    plan: bytes
    options: Mapping[str, Any]
    threads: int


class Worker:
    """One actor, for the envs `rows`. It is asked one question at a time; others wait here.

    Attributes:
        actor: Ray's handle.
        alive: whether it can be asked; `start` makes a new one.
    """

    def __init__(self, number: int, rows: range, staff: Staff) -> None:
        self.number, self.rows = number, rows
        self.alive = False
        self.actor: Any = None
        self.lane: Lane
        self.questions: deque[Question] = deque()
        self.staff = staff
        self._node = ""

    def begin(self, seeds: Seeds) -> Any:
        """Ask for an actor with its envs: Ray's reference to what it says when they are built."""
        host = ray.remote(Host).options(**self.staff.options)
        self.actor = host.remote(self.rows.start, len(self.rows))
        return self.actor.build.remote(self.staff.plan, sys.path, seeds, self.staff.threads)

    def built(self, said: Any) -> Description:
        """The description of its envs.

        Raises:
            EnvError: an env could not be built.
            Exception: what else went wrong.
        """
        how, value = said
        if how == "failed":
            raise_failures(self.opened(value))
        if how == "error":
            error = letters.loads(value)[3]
            error.add_note(f"in {self}")
            raise error
        self._node, description = value
        return description  # type: ignore[no-any-return]

    def open(self, actions: list[Element], states: list[Element]) -> None:
        """Make it ready for questions."""
        self.lane = lanes.lane_to(self.actor, self._node, len(self.rows), actions, states)
        self.alive = True

    def ask(self, question: Question) -> None:
        """Ask now, or when the question before is answered."""
        self.questions.append(question)
        if len(self.questions) == 1:
            self._ask_first()

    def _ask_first(self) -> None:
        first = self.questions[0]
        self.lane.ask(first.name, first.args, first.arrays)

    def receive(self) -> None:
        """Take the answer that is there, and ask the next question.

        Raises:
            ActorGone: it died.
        """
        try:
            value, arrays = self.lane.answer()
        except ActorGone:
            raise
        except Exception as error:
            self.questions.popleft().failed(error)
        else:
            self.questions.popleft().landed(value, arrays)
        if self.questions:
            self._ask_first()

    def opened(self, failures: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Failures as the engine tells them; the traceback says which worker it was."""
        return [self._opened(*failure) for failure in failures]

    def _opened(self, env: int, row: int, seed: int | None, letter: bytes) -> tuple[Any, ...]:
        hook, elapsed_step, action, exception, text = letters.loads(letter)
        return env, row, seed, hook, elapsed_step, action, exception, f"in {self}:\n{text}"

    def end(self) -> list[Question]:
        """Kill the actor. The questions that it leaves."""
        left, self.questions = list(self.questions), deque()
        if self.alive:
            self.lane.close()
        self.alive = False
        if self.actor is not None and ray.is_initialized():
            with contextlib.suppress(Exception):  # it is gone, or Ray is
                ray.kill(self.actor)
        self.actor = None
        return left

    def __str__(self) -> str:
        return f"worker {self.number} (envs {self.rows[0]} to {self.rows[-1]})"


def start(workers: Sequence[Worker], seeds: Callable[[Worker], Seeds]) -> list[Description]:
    """Start these workers, all at once: all, or none.

    Raises:
        ConfigError: the cluster has no room for them.
        EnvError: an env could not be built.
        SpecError: envs differ from those of the first worker.
        PoolError: an actor died, or was not there in time.
    """
    if not ray.is_initialized():
        raise PoolError(f"{SHUT_DOWN}; make a new pool")
    try:
        check_room(len(workers), workers[0].staff.options)
        begun = {worker.begin(seeds(worker)): worker for worker in workers}
        _await(begun)
        descriptions = [worker.built(_said(worker, reference)) for reference, worker in begun.items()]
        for worker, description in zip(workers, descriptions, strict=True):
            check_same(worker, description, descriptions[0])
    except BaseException:
        for worker in workers:
            worker.end()
        raise
    return descriptions


def _await(begun: Mapping[Any, Worker]) -> None:
    """Until all have said something, or Ray about them."""
    until = time.monotonic() + START_DEADLINE
    waiting = list(begun)
    while waiting:
        _, waiting = ray.wait(waiting, timeout=max(0.0, until - time.monotonic()))
        if waiting and time.monotonic() > until:
            late = ", ".join(str(begun[reference]) for reference in waiting)
            raise PoolError(f"not started within {START_DEADLINE:g} s: {late}")


def _said(worker: Worker, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        raise PoolError(f"{worker} could not start: {error}") from error


def check_same(worker: Worker, found: Description, expected: Description) -> None:
    """Raise SpecError unless the envs of `worker` are as described."""
    if found == expected:
        return
    for side in ("observation_space", "action_space", "info_space"):
        now, then = getattr(found, side), getattr(expected, side)
        if now != then:
            now, then = (one and space_from_description(one, "gymnasium") for one in (now, then))
            raise SpecError(
                f"{side} of {worker} is {now}; worker 0 has {then}. All envs of a pool have the same"
            )
    raise SpecError(
        f"the envs of {worker} differ from those of worker 0: {json.dumps(found.spec.describe())}, "
        f"not {json.dumps(expected.spec.describe())}. All envs of a pool have the same"
    )
