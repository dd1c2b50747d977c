"""The engine of a pool whose envs are in actors: to a face it is what `_core.Pool` is.

A synchronous pool opens a batch with each `send` or `reset`, and answers fill its rows, whichever worker is
first. An asynchronous one fills the open batch with answers as they come. Either way a row is copied once,
from where the worker's answer lies to its place in the batch.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
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
from envpool_wrap.actors.lanes import ActorGone
from envpool_wrap.actors.rows import Arrays, Element
from envpool_wrap.actors.workers import Question, Worker
from envpool_wrap.config import PoolConfig, Seeds

_NO_EPISODE = -1
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
        self._leaves: list[Element] = []
        self._in_flight = np.zeros(config.num_envs, bool)  # sent, and not received
        self._elapsed = np.full(config.num_envs, _NO_EPISODE)
        # Idle in the middle of an episode when their worker died: after how many steps, and of what.
        self._lost: dict[int, tuple[int, Exception]] = {}
        self._batches: deque[Batch] = deque()
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._taken = {"batches": 0, "rows": 0}

    # ---- as the engine does ----

    def view(self, names: Sequence[str]) -> Sequence[str]:
        """Say, once, which leaves are wanted."""
        self._names, self._wanted = [*names, *(name for name in _NOTED if name not in names)], len(names)
        self._leaves, finals = rows.elements(self._description.spec, self._names)
        self._env_id, self._steps, self._done = map(self._names.index, _NOTED)
        self._crew.open(self._names, self._leaves, finals)
        return names

    def send(self, actions: tuple[Any, ...], env_id: Any) -> None:
        with self._inside():
            ids = self._idle(env_id)
            self._check_begun(ids)
            arrays = self._actions.read(actions, ids)
            self._crew.revive((env for env in ids if env not in self._lost), self._seeds)
            lost = [place for place, env in enumerate(ids) if env in self._lost] if self._lost else []
            self._submit(
                ids, lost, lambda share: ("step", (share.local,), [leaf[share.at] for leaf in arrays])
            )

    def reset(self, env_id: Any, seeds: Seeds | None, options: Sequence[Any] | None) -> None:
        with self._inside():
            ids = self._idle(env_id)
            letter = None if options is None else list(map(letters.dumps, options))
            self._crew.revive(ids, self._seeds)
            for place, env in enumerate(ids):
                self._lost.pop(env, None)
                if seeds is not None and seeds[place] is not None:
                    self._seeds[env] = seeds[place]

            def question(share: Share) -> tuple[str, tuple[Any, ...], Arrays]:
                own = [None if given is None else share.of(given) for given in (seeds, letter)]
                return "reset", (share.local, *own), ()

            self._submit(ids, [], question)

    def recv(self, view: Any, timeout: float | None) -> tuple[Any, ...]:
        with self._inside():
            in_flight = self.num_in_flight
            if not in_flight:
                raise NothingPendingError(
                    "recv() with nothing in flight; send(), reset() or async_reset() first"
                )
            wanted = min(self._config.rows, in_flight) if self._config.is_async else 0
            self._crew.wait(lambda: self._is_ready(wanted), timeout)
            batch = self._batches.popleft()
            *arrays, leftovers = batch.taken()
            self._in_flight[arrays[self._env_id]] = False
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
        if self._batches and not self._config.is_async:
            raise PendingCallError(f"{len(self._batches)} sent batch(es) not received yet; recv() first")

    def apply(self, function: Callable[[Any], Any], env_id: Any) -> tuple[list[Any], list[tuple[Any, ...]]]:
        with self._inside():
            ids = self._chosen(env_id)
            for env in ids:
                if 0 <= env < len(self._in_flight) and self._in_flight[env]:
                    raise PendingCallError(f"env {env} is in flight; recv() its result first")
            self._check_idle(ids)
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
            self._elapsed[ids] = _NO_EPISODE
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
                self._batches.clear()
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
        return int(np.count_nonzero(self._in_flight))

    @property
    def num_pending_batches(self) -> int:
        return len(self._batches)

    # ---- what is asked of whom ----

    def _submit(
        self,
        ids: list[int],
        lost: list[int],
        question: Callable[[Share], tuple[str, tuple[Any, ...], Arrays]],
    ) -> None:
        """Ask the workers of `ids`, and answer at once for those at the places `lost`."""
        batch = None
        if not self._config.is_async:
            batch = Batch(self._leaves, len(ids))
            self._batches.append(batch)
        self._in_flight[ids] = True
        for place in lost:
            env = ids[place]
            elapsed, death = self._lost.pop(env)
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
        self._fill(batch, share.at, arrays, failures, infos)

    def _fail(self, share: Share, batch: Batch | None, hook: str, error: Exception) -> None:
        """All rows of one worker are lost."""
        gone = isinstance(error, ActorGone)
        elapsed = np.maximum(self._elapsed[share.envs], 0)
        self._land_lost(batch, share.places, share.envs, elapsed, WORKER if gone else hook, error)

    def _land_lost(
        self, batch: Batch | None, at: Any, envs: Any, elapsed: Any, hook: str, error: Exception
    ) -> None:
        arrays = rows.lost(self._names, self._leaves, np.array(envs), elapsed)
        failures = self._deaths(envs, elapsed, error, hook)
        self._fill(batch, at, arrays, failures, None)

    def _deaths(self, envs: Any, elapsed: Any, error: Exception, hook: str = WORKER) -> list[tuple[Any, ...]]:
        return [
            (env, row, self._seeds[env], hook, int(steps), None, error, None)
            for row, (env, steps) in enumerate(zip(envs, elapsed, strict=True))
        ]

    def _fill(
        self,
        batch: Batch | None,
        at: Any,
        arrays: Arrays,
        failures: Sequence[Any],
        infos: Sequence[Any] | None,
    ) -> None:
        if batch is not None:
            batch.fill(at, len(arrays[self._env_id]), arrays, failures, infos)
            return
        start, count = 0, len(arrays[self._env_id])
        while start < count:
            if not self._batches or self._batches[-1].filled == self._batches[-1].size:
                self._batches.append(Batch(self._leaves, self._config.rows))
            batch = self._batches[-1]
            stop = min(count, start + batch.size - batch.filled)
            batch.fill(
                slice(batch.filled, batch.filled + stop - start),
                stop - start,
                [array if array is None else array[start:stop] for array in arrays],
                [(env, row - start, *rest) for env, row, *rest in failures if start <= row < stop],
                None if infos is None else infos[start:stop],
            )
            start = stop

    def _note(self, arrays: Sequence[Any], failures: Sequence[Any]) -> None:
        """How far each env's episode is, so that a loss can be told."""
        env_id = arrays[self._env_id]
        self._elapsed[env_id] = arrays[self._steps]
        ended = arrays[self._done]
        if ended.any():
            self._elapsed[env_id[ended]] = 0 if self._config.autoreset_mode == "same_step" else _NO_EPISODE
            self._elapsed[[failure[0] for failure in failures]] = _NO_EPISODE

    def _is_ready(self, wanted: int) -> bool:
        """Whether the first batch is: with so many rows, or (synchronous) with all."""
        return bool(self._batches) and self._batches[0].filled >= (wanted or self._batches[0].size)

    def _lose(self, worker: Worker, death: ActorGone) -> None:
        """The envs of a worker that died: those that are idle are lost, if in the middle of an episode."""
        for batch in self._batches:  # what is there, and not received yet
            for at in batch.parts:
                self._note([array[at] for array in batch.arrays], batch.failures)
        for env in worker.rows:
            if self._elapsed[env] != _NO_EPISODE:
                self._lost[env] = int(self._elapsed[env]), death
        self._elapsed[worker.rows] = _NO_EPISODE

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
        self._check_idle(ids)
        return ids

    def _check_idle(self, ids: list[int]) -> None:
        """Raise ActionError unless every id is in range, idle, and there once."""
        if ids is self._crew.all_envs and not self._in_flight.any():
            return
        seen: set[int] = set()
        for env in ids:
            if not 0 <= env < len(self._in_flight):
                last = len(self._in_flight) - 1
                raise ActionError(f"env_id {env} is out of range: this pool has envs 0 to {last}")
            if env in seen:
                raise ActionError(f"env_id {env} is there twice; send each env once")
            if self._in_flight[env]:
                raise ActionError(
                    f"env {env} is still in flight; recv() its result before sending to it again"
                )
            seen.add(env)

    def _check_begun(self, ids: list[int]) -> None:
        if self._config.autoreset_mode != "disabled":
            return
        over = [env for env in ids if self._elapsed[env] == _NO_EPISODE and env not in self._lost]
        if over:
            named = ", ".join(map(str, over))
            raise ActionError(
                f"env_id {named}: no episode is going on (it ended, or none began), and autoreset_mode is "
                f"'disabled'; reset(env_id=[{named}]) first"
            )
