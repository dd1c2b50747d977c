"""The workers of a pool together: which has which env, what they answer, and who replaces the dead."""

from __future__ import annotations

import math
import select
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from envpool_protocol.errors import PoolError, PoolTimeout
from envpool_protocol.sources import Description
from envpool_wrap.actors.batches import Share
from envpool_wrap.actors.lanes import ActorGone
from envpool_wrap.actors.rows import Arrays, Element
from envpool_wrap.actors.workers import Question, Worker, check_same, start
from envpool_wrap.config import Seeds

_LONGEST_POLL = 3600.0  # seconds: poll(2) knows no infinity, and no number of many digits


class Crew:
    """Workers that are started: worker w has the envs `w * E` to `w * E + E - 1`.

    Attributes:
        workers: by number.
        all_envs: their ids.
        waited: seconds that the caller waited for answers.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        description: Description,
        timeout: float | None,
        died: Callable[[Worker, ActorGone], None],
    ) -> None:
        """Take workers.

        Args:
            workers: started, and not opened yet.
            description: of the envs that those have that replace them.
            timeout: seconds that an errand may take, or None.
            died: told of each worker that died, after those who had asked it something.
        """
        self.workers, self.all_envs = list(workers), [row for worker in workers for row in worker.rows]
        self.waited = 0.0
        self._description, self._timeout, self._died = description, timeout, died
        self._actions: list[Element] = [leaf.element for leaf in description.spec.action.leaves]
        self._view: tuple[list[str], list[int]] = [], []
        self._states: list[Element] = []
        self._poll = select.poll()
        self._at: dict[int, Worker] = {}  # by descriptor

    def open(self, names: list[str], states: list[Element], finals: list[int]) -> None:
        """Make all ready for questions, and say which leaves are wanted."""
        self._view, self._states = (names, finals), states
        for worker in self.workers:
            self._open(worker)

    def worker(self, env: int) -> Worker:
        """The one that has this env."""
        return self.workers[env // len(self.workers[0].rows)]

    def shares(self, ids: list[int], places: Sequence[int]) -> list[Share]:
        """Which worker has which of the ids at `places`."""
        if ids is self.all_envs and len(places) == len(ids):
            return [
                Share(worker, None, slice(worker.rows.start, worker.rows.stop)) for worker in self.workers
            ]
        share_of: dict[int, Share] = {}
        for place in places:
            worker = self.worker(ids[place])
            share = share_of.setdefault(worker.number, Share(worker, [], []))
            share.local.append(ids[place] - worker.rows.start)  # type: ignore[union-attr]
            share.at.append(place)
        return list(share_of.values())

    def ask(
        self, asked: Mapping[Worker, tuple[str, tuple[Any, ...]]], timeout: float | None = None
    ) -> dict[int, Any]:
        """What these workers answer, by number; an `ActorGone` where one died.

        Args:
            asked: name and arguments of each one's question.
            timeout: seconds; None: the pool's.

        Raises:
            PoolTimeout: they did not answer in time.
            Exception: what answering raised.
        """
        answers: dict[int, Any] = {}
        for worker, (name, args) in asked.items():
            landed = partial(_keep, answers, worker.number)
            worker.ask(Question(name, args, landed, landed))
        self.wait(lambda: len(answers) == len(asked), self._timeout if timeout is None else timeout)
        for answer in answers.values():
            if isinstance(answer, Exception) and not isinstance(answer, ActorGone):
                raise answer
        return answers

    def wait(self, done: Callable[[], bool], timeout: float | None) -> None:
        """Take answers until `done`. Ctrl-C ends it, as does the deadline."""
        begun = time.monotonic()
        try:
            while not done():
                left = math.inf if timeout is None else timeout - (time.monotonic() - begun)
                if not any(worker.questions for worker in self.workers):
                    raise PoolError("nothing is asked of any worker, and yet something is waited for")
                ready = self._poll.poll(max(0, math.ceil(min(left, _LONGEST_POLL) * 1e3)))
                if not ready and left <= 0:
                    raise PoolTimeout(self._late(timeout))
                for descriptor, _ in ready:
                    self._receive(self._at[descriptor])
        finally:
            self.waited += time.monotonic() - begun

    def revive(self, envs: Iterable[int], seeds: Seeds) -> None:
        """Replace the dead workers of these envs; `seeds` are those of all envs."""
        if all(worker.alive for worker in self.workers):
            return
        wanted = [self.workers[number] for number in sorted({self.worker(env).number for env in envs})]
        while dead := [worker for worker in wanted if not worker.alive]:  # others may die meanwhile
            descriptions = start(dead, lambda worker: seeds[worker.rows.start : worker.rows.stop])
            for worker, description in zip(dead, descriptions, strict=True):
                check_same(worker, description, self._description)
                self._open(worker)

    def end(self) -> None:
        """End every worker, at whatever it is."""
        for worker in self.workers:
            self._forget(worker)
            worker.end()

    def _open(self, worker: Worker) -> None:
        worker.open(self._actions, self._states)
        self._at[worker.lane.fileno()] = worker
        self._poll.register(worker.lane.fileno(), select.POLLIN)
        (answer,) = self.ask({worker: ("view", self._view)}).values()
        if isinstance(answer, ActorGone):
            raise PoolError(f"{worker} could not start: {answer}") from answer

    def _receive(self, worker: Worker) -> None:
        try:
            worker.receive()
        except ActorGone as gone:
            self._forget(worker)
            death = ActorGone(f"the actor of {worker} died: {gone}")
            for question in worker.end():
                question.failed(death)
            self._died(worker, death)

    def _forget(self, worker: Worker) -> None:
        for descriptor in [descriptor for descriptor, its in self._at.items() if its is worker]:
            self._poll.unregister(descriptor)
            del self._at[descriptor]

    def _late(self, timeout: float | None) -> str:
        busy = ", ".join(map(str, (worker for worker in self.workers if worker.questions)))
        return f"no batch within {timeout:g} s; still running: {busy}. Nothing is lost: recv() again."


def _keep(answers: dict[int, Any], number: int, value: Any, arrays: Arrays = ()) -> None:
    answers[number] = value
