"""The engine of a pool whose envs are in actors: to a face it is what `_core.Pool` is.

A row is copied once, from where the worker's answer lies to its place in the batch.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from envpool_protocol import _core
from envpool_protocol.errors import (
    WORKER,
    ActionError,
    ForkedPoolError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
    PoolTimeout,
)
from envpool_protocol.sources import Description
from envpool_wrap import letters
from envpool_wrap.actors import rows
from envpool_wrap.actors.batches import Batch, Share
from envpool_wrap.actors.counters import joined
from envpool_wrap.actors.crew import Crew
from envpool_wrap.actors.episodes import Episodes
from envpool_wrap.actors.flight import Flight
from envpool_wrap.actors.lanes import ActorGone
from envpool_wrap.actors.rows import Arrays
from envpool_wrap.actors.workers import Question, Worker
from envpool_wrap.config import PoolConfig, Seeds

_NOTED = ("env_id", "elapsed_step", "done")  # leaves that are looked at here, asked for or not


class ActorCore:
    """The envs of `workers`, which are started: worker w has the rows `w * E` to `w * E + E - 1`."""

    def __init__(
        self,
        workers: Sequence[Worker],
        description: Description,
        module: ModuleType,
        config: PoolConfig,
        seeds: Seeds,
    ) -> None:
        self.closed = False
        self._crew = Crew(workers, description, config.timeout, self._lose)
        self._description, self._config, self._seeds = description, config, list(seeds)
        self._actions = _core.ActionReader(module.engine_module)
        self._names: list[str] = []
        self._wanted = 0  # of the names, the first so many were asked for
        self._flight = Flight(config.num_envs, config.rows)
        self._episodes = Episodes(config.num_envs, config.autoreset_mode)
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._taken = {"batches": 0, "rows": 0}

    # ---- as the engine does ----

    def view(self, names: Sequence[str]) -> Sequence[str]:
        """Say, once, which leaves are wanted."""
        self._names, self._wanted = [*names, *(name for name in _NOTED if name not in names)], len(names)
        self._flight.leaves, finals = rows.elements(self._description.spec, self._names)
        self._env_id, self._steps, self._done = map(self._names.index, _NOTED)
        self._crew.open(self._names, self._flight.leaves, finals)
        return names

    def send(self, actions: tuple[Any, ...], env_id: Any) -> None:
        with self._inside():
            ids = self._idle(env_id)
            self._check_begun(ids)
            arrays = self._actions.read(actions, ids)
            lost = self._episodes.lost
            self._crew.revive((env for env in ids if env not in lost), self._seeds)
            told = [place for place, env in enumerate(ids) if env in lost] if lost else []
            self._submit(
                ids, told, lambda share: ("step", (share.local,), [leaf[share.at] for leaf in arrays])
            )

    def reset(self, env_id: Any, seeds: Seeds | None, options: Sequence[Any] | None) -> None:
        with self._inside():
            ids = self._idle(env_id)
            letter = None if options is None else list(map(letters.dumps, options))
            self._crew.revive(ids, self._seeds)
            for place, env in enumerate(ids):
                self._episodes.lost.pop(env, None)
                if seeds is not None and seeds[place] is not None:
                    self._seeds[env] = seeds[place]

            def question(share: Share) -> tuple[str, tuple[Any, ...], Arrays]:
                own = [None if given is None else share.of(given) for given in (seeds, letter)]
                return "reset", (share.local, *own), ()

            self._submit(ids, [], question)

    def recv(self, view: Any, timeout: float | None) -> tuple[Any, ...]:
        with self._inside():
            if not self.num_in_flight:
                raise NothingPendingError(
                    "recv() with nothing in flight; send(), reset() or async_reset() first"
                )
            self._crew.wait(self._flight.is_ready, timeout)
            batch = self._flight.batches.popleft()
            *arrays, leftovers = batch.taken()
            self._flight.sent[arrays[self._env_id]] = False
            self._note(arrays, batch.failures)
            self._taken["batches"] += 1
            self._taken["rows"] += batch.filled
            return (*arrays[: self._wanted], leftovers)

    def step(
        self, actions: tuple[Any, ...], env_id: Any, view: Any, timeout: float | None
    ) -> tuple[Any, ...]:
        self.refuse_pending()
        self.send(actions, env_id)
        return self.recv(view, timeout)

    def refuse_pending(self) -> None:
        if self.num_pending_batches and not self._config.is_async:
            raise PendingCallError(
                f"{self.num_pending_batches} sent batch(es) not received yet; recv() first"
            )

    def apply(self, function: Callable[[Any], Any], env_id: Any) -> tuple[list[Any], list[tuple[Any, ...]]]:
        with self._inside():
            ids = self._chosen(env_id)
            for env in ids:
                if 0 <= env < self._config.num_envs and self._flight.sent[env]:
                    raise PendingCallError(f"env {env} is in flight; recv() its result first")
            self._flight.check_idle(ids)
            letter = letters.dumps(function)
            self._crew.revive(ids, self._seeds)
            results: list[Any] = [None] * len(ids)
            answers, failures = self._answers(ids, "apply", letter)
            for share, (told, failed) in answers:
                for place, result in zip(share.places, letters.loads(told), strict=False):
                    results[place] = result
                failures += share.worker.opened(failed)
            return results, sorted(failures, key=lambda failure: ids.index(failure[0]))

    def rebuild(self, env_id: Any) -> list[tuple[Any, ...]]:
        with self._inside():
            ids = [env for env in self._idle(env_id) if self._crew.worker(env).alive]
            self._episodes.end(ids)
            answers, failures = self._answers(ids, "rebuild")
            return [*failures, *(one for share, failed in answers for one in share.worker.opened(failed))]

    def close(self, timeout: float) -> tuple[bool, list[tuple[Any, ...]]]:
        if self.closed:
            return True, []
        with self._inside():
            self.closed = True
            workers = self._crew.workers
            failures: list[tuple[Any, ...]] = []
            try:
                asked = {worker: ("close", ()) for worker in workers if worker.alive}
                with contextlib.suppress(PoolTimeout):  # what hangs is killed
                    for number, value in self._crew.ask(asked, timeout).items():
                        if not isinstance(value, Exception):  # dead
                            failures += workers[number].opened(value)
            finally:
                self._crew.end()
                self._flight.batches.clear()
            return True, failures

    def stats(self) -> dict[str, Any]:
        """The workers' counters, once what they do is done; zeros where one is dead."""
        answers: Mapping[int, Any] = {}
        workers = self._crew.workers
        if not self.closed:
            with self._inside():
                answers = self._crew.ask({worker: ("stats", ()) for worker in workers if worker.alive})
        counted = {number: answer for number, answer in answers.items() if not isinstance(answer, Exception)}
        return joined([len(worker.rows) for worker in workers], counted) | {
            "caller_waited_seconds": self._crew.waited,
            "caller_inside_seconds": self._crew.waited,
            **self._taken,
            "in_flight": self.num_in_flight,
            "batches_held": 0,
            "batches_touched": 0,
            "batches_bound": 0,
            "private_copies": self._taken["batches"],
        }

    @property
    def num_in_flight(self) -> int:
        return self._flight.num_envs

    @property
    def num_pending_batches(self) -> int:
        return len(self._flight.batches)

    # ---- what is asked of whom ----

    def _submit(
        self,
        ids: list[int],
        lost: list[int],
        question: Callable[[Share], tuple[str, tuple[Any, ...], Arrays]],
    ) -> None:
        """Ask the workers of `ids`, and answer at once for those at the places `lost`."""
        batch = self._flight.depart(ids)
        for place in lost:
            env = ids[place]
            elapsed, death = self._episodes.lost.pop(env)
            self._land_lost(batch, [place], [env], [elapsed], WORKER, death)
        places = [place for place in range(len(ids)) if place not in lost] if lost else range(len(ids))
        for share in self._crew.shares(ids, places):
            name, args, arrays = question(share)
            landed, failed = partial(self._land, share, batch), partial(self._fail, share, batch, name)
            share.worker.ask(Question(name, args, landed, failed, arrays))

    def _answers(
        self, ids: list[int], name: str, *args: Any
    ) -> tuple[list[tuple[Share, Any]], list[tuple[Any, ...]]]:
        """What the workers of `ids` answer, each asked about its share; and the failures where one died."""
        shares = self._crew.shares(ids, range(len(ids)))
        told = self._crew.ask({share.worker: (name, (share.local, *args)) for share in shares})
        answers: list[tuple[Share, Any]] = []
        failures: list[tuple[Any, ...]] = []
        for share in shares:
            answer = told[share.worker.number]
            if isinstance(answer, Exception):
                failures += self._deaths(share.envs, [0] * len(share.envs), answer)
            else:
                answers.append((share, answer))
        return answers, failures

    # ---- what comes back ----

    def _land(self, share: Share, batch: Batch | None, left: Any, arrays: Arrays) -> None:
        """Rows of one worker, and what its envs left beside them."""
        failures: Sequence[Any] = ()
        infos = None
        if left is not None:
            failures, letter = share.worker.opened(left[0]), left[1]
            infos = None if letter is None else letters.loads(letter)
        self._flight.land(batch, share.at, len(arrays[self._env_id]), arrays, failures, infos)

    def _fail(self, share: Share, batch: Batch | None, hook: str, error: Exception) -> None:
        """All rows of one worker are lost."""
        gone = isinstance(error, ActorGone)
        elapsed = self._episodes.steps(share.envs)
        self._land_lost(batch, share.places, share.envs, elapsed, WORKER if gone else hook, error)

    def _land_lost(
        self, batch: Batch | None, at: Any, envs: Any, elapsed: Any, hook: str, error: Exception
    ) -> None:
        arrays = rows.lost(self._names, self._flight.leaves, np.array(envs), elapsed)
        failures = self._deaths(envs, elapsed, error, hook)
        self._flight.land(batch, at, len(envs), arrays, failures, None)

    def _deaths(self, envs: Any, elapsed: Any, error: Exception, hook: str = WORKER) -> list[tuple[Any, ...]]:
        return [
            (env, row, self._seeds[env], hook, int(steps), None, error, None)
            for row, (env, steps) in enumerate(zip(envs, elapsed, strict=True))
        ]

    def _note(self, arrays: Sequence[Any], failures: Sequence[Any]) -> None:
        env_id, elapsed_step, done = (arrays[place] for place in (self._env_id, self._steps, self._done))
        self._episodes.note(env_id, elapsed_step, done, failures)

    def _lose(self, worker: Worker, death: ActorGone) -> None:
        """A worker died: its envs that are idle are lost, if in the middle of an episode."""
        for batch in self._flight.batches:  # what is there, and not received yet
            for at in batch.parts:
                self._note([array[at] for array in batch.arrays], batch.failures)
        self._episodes.lose(worker.rows, death)

    # ---- what is refused ----

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """One thread at a time, in the process that made the pool."""
        if os.getpid() != self._pid:
            raise ForkedPoolError(
                "this pool was made before a fork and its workers are not in this process; make a new one"
            )
        if not self._lock.acquire(blocking=False):
            raise PendingCallError("another call is inside this pool (another thread); one at a time")
        try:
            if self.closed:
                raise PoolClosedError("this pool is closed; make a new one")
            yield
        finally:
            self._lock.release()

    def _chosen(self, env_id: Any) -> list[int]:
        return self._crew.all_envs if env_id is None else _core.read_env_ids(env_id)

    def _idle(self, env_id: Any) -> list[int]:
        ids = self._chosen(env_id)
        if env_id is not None or self.num_in_flight:
            self._flight.check_idle(ids)
        return ids

    def _check_begun(self, ids: list[int]) -> None:
        if self._config.autoreset_mode != "disabled":
            return
        if over := self._episodes.over(ids):
            named = ", ".join(map(str, over))
            raise ActionError(
                f"env_id {named}: no episode is going on (it ended, or none began), and autoreset_mode is "
                f"'disabled'; reset(env_id=[{named}]) first"
            )
