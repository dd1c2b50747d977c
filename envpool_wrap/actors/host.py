"""What runs in an actor: the engine's own pool of a few envs, and who asks it.

A question is a name and arguments, and the arrays of actions; `do` answers (whether it went well, a value or
the error, the arrays of a batch). It comes as a call of the actor, or through `serve` over a socket.
"""

from __future__ import annotations

import mmap
import operator
import os
import pickle
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from envpool_protocol import _core
from envpool_protocol.descriptions import close_env, describe_env
from envpool_protocol.errors import EnvError
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import Description, Source
from envpool_wrap import letters
from envpool_wrap.actors.rows import Arrays, Element, carve, lost, size
from envpool_wrap.actors.wire import Wire
from envpool_wrap.backends import place
from envpool_wrap.config import PoolConfig, Seeds
from envpool_wrap.core import OpenCore, check_described, env_maker, open_core, pickled
from envpool_wrap.failures import error_of
from envpool_wrap.registry import refusing_pools

Answer = tuple[bool, Any, Arrays]


@dataclass(frozen=True)
class Plan:
    """How the envs of a pool are made; it travels as a factory does."""

    source: Source
    config: PoolConfig


@dataclass(frozen=True)
class Fast:
    """Where to meet the pool on this machine, and how the rows lie in the memory that it brings along.

    Attributes:
        address: of a socket in Linux's abstract namespace.
        token: to be said first.
        rows: of each array.
        actions, states: the leaves, in this order.
    """

    address: str
    token: bytes
    rows: int
    actions: list[Element]
    states: list[Element]

    @property
    def nbytes(self) -> int:
        """Of the memory."""
        return size(self.actions, self.rows) + size(self.states, self.rows)

    def arrays(self, memory: mmap.mmap) -> tuple[Arrays, Arrays]:
        """Those of the actions and those of the states."""
        start = size(self.actions, self.rows)
        return carve(self.actions, self.rows, memory), carve(self.states, self.rows, memory, start)


@dataclass
class Host:
    """Owns the envs `first` to `first + rows - 1` of a pool."""

    first: int
    rows: int
    _open: OpenCore | None = None
    _view: Any = None
    _names: Sequence[str] = ()
    _finals: Sequence[int] = ()
    _made: dict[int, Any] = field(default_factory=dict)

    def build(self, plan: bytes, path: list[str], seeds: Seeds, threads: int) -> tuple[str, Any]:
        """Build the envs: "built" and (node, description), "failed" and failures, or "error" and a letter."""
        import ray

        sys.path += [place for place in path if place not in sys.path]  # of the pool, for its modules
        try:
            description = self._build(plan, seeds, threads)
        except EnvError as error:  # a constructor raised
            facts = [
                (one.env_id, 0, None, one.hook, 0, None, one.exception, one.traceback) for one in error.errors
            ]
            return "failed", self._packed(facts)
        except Exception as error:
            return "error", _letter(error)
        return "built", (ray.get_runtime_context().get_node_id(), description)

    def _build(self, plan_bytes: bytes, seeds: Seeds, threads: int) -> Description:
        with refusing_pools():
            plan: Plan = pickle.loads(plan_bytes)
        source = plan.source
        make = env_maker(source, plan.config)
        description = self._describe(make, source)

        def factory(env: int) -> Any:
            row = self.first + env
            if row in self._made:
                return self._made.pop(row)
            made = make(row)
            check_described(made, row, description, source)
            return made

        config = replace(
            plan.config,
            num_envs=self.rows,
            batch_size=0,
            num_threads=threads if plan.config.backend in ("thread", "process") else 0,
            seed=seeds,
            on_error="raise",
            timeout=None,
        )
        placement = place(config, lambda: pickled(factory))
        if placement.processes:  # envs are built in processes of the actor's own
            close_env(self._made.pop(self.first))
        self._open = open_core(factory, description, prebuilt_module(description), config, placement)
        return description

    def _describe(self, make: Callable[[int], Any], source: Source) -> Description:
        """Of the first env, which is kept."""
        try:
            env = make(self.first)
        except Exception as error:
            raise error_of([(0, 0, None, "__init__", 0, None, error, None)]) from error
        description = describe_env(env, source.name)
        self._made[self.first] = env
        return description

    # ---- questions ----

    def do(self, name: str, args: tuple[Any, ...], arrays: Arrays = ()) -> Answer:
        """Answer a question."""
        try:
            value, out = getattr(self, f"_on_{name}")(*args, *([arrays] if arrays else []))
            return True, value, out
        except Exception as error:
            return False, _letter(error), ()

    def _on_view(self, names: Sequence[str], finals: Sequence[int]) -> tuple[Any, Arrays]:
        self._names, self._view, self._finals = names, self._core.view(names), finals
        return None, ()

    def _on_step(self, ids: list[int] | None, actions: Arrays) -> tuple[Any, Arrays]:
        return self._batch(self._core.step(tuple(actions), ids, self._view, None))

    def _on_reset(
        self, ids: list[int] | None, seeds: Seeds | None, options: list[bytes] | None
    ) -> tuple[Any, Arrays]:
        self._core.reset(ids, seeds, None if options is None else list(map(letters.loads, options)))
        return self._batch(self._core.recv(self._view, None))

    def _on_apply(self, ids: list[int] | None, function: bytes) -> tuple[Any, Arrays]:
        results, failures = self._core.apply(letters.loads(function), ids)
        return (letters.dumps(results), self._packed(failures)), ()

    def _on_rebuild(self, ids: list[int]) -> tuple[Any, Arrays]:
        return self._packed(self._core.rebuild(ids)), ()

    def _on_stats(self) -> tuple[Any, Arrays]:
        return self._core.stats(), ()

    def _on_close(self) -> tuple[Any, Arrays]:
        assert self._open is not None
        return self._packed(self._open.close()[1]), ()

    @property
    def _core(self) -> _core.Pool:
        assert self._open is not None  # nothing is asked before it is built
        pool: _core.Pool = self._open.pool
        return pool

    def _batch(self, received: tuple[Any, ...]) -> tuple[Any, Arrays]:
        """What envs left beside their rows, or None, and the arrays; finals only where an episode ended."""
        *arrays, leftovers = received
        value = None if leftovers is None else self._sendable(arrays, *leftovers)
        leaf = dict(zip(self._names, arrays, strict=True))
        leaf["env_id"] += self.first
        if self._finals and not leaf["done"].any():
            for final in self._finals:
                arrays[final] = None
        return value, arrays

    def _sendable(self, arrays: Arrays, failures: Sequence[Any], infos: list[Any] | None) -> tuple[Any, Any]:
        try:
            told = None if infos is None else letters.dumps(infos)
        except TypeError:
            assert infos is not None
            failures = sorted([*failures, *self._unsent(arrays, infos)], key=operator.itemgetter(1))
            told = letters.dumps(infos)
        return self._packed(failures), told

    def _unsent(self, arrays: Arrays, infos: list[Any]) -> list[Any]:
        """The failures of envs whose info cannot be sent: their rows are lost, and they start again."""
        env_ids = arrays[self._names.index("env_id")]
        failures: list[Any] = []
        for row, info in enumerate(infos):
            try:
                letters.dumps(info)
            except TypeError as error:
                infos[row] = None
                failures.append((int(env_ids[row]), row, None, "info", 0, None, error, None))
        rows = [failure[1] for failure in failures]
        leaves = [(array.dtype, array.shape[1:]) for array in arrays]
        for array, blank in zip(arrays, lost(self._names, leaves, env_ids[rows], 0), strict=True):
            array[rows] = blank
        return [*failures, *self._core.rebuild([failure[0] for failure in failures])]

    def _packed(self, failures: Sequence[Any]) -> list[Any]:
        """Failures as they travel: (env id in the whole pool, row, seed, letter)."""
        return [
            (self.first + env, row, seed, letters.dumps(tuple(rest))) for env, row, seed, *rest in failures
        ]

    # ---- the fast way ----

    def serve(self, fast: Fast) -> str:
        """Answer questions that come over a socket until it is closed; why not, if it cannot be reached."""
        try:
            wire, memory = _meet(fast)
        except OSError as error:
            return f"{fast.address!r}: {error}"
        actions, states = fast.arrays(memory)
        while True:
            try:
                name, args, rows = wire.receive()
                well, value, arrays = self.do(name, args, [array[:rows] for array in actions] if rows else ())
                rows, absent = 0, []
                for place, array in enumerate(arrays):
                    if array is None:
                        absent.append(place)
                    else:
                        rows = len(array)
                        states[place][:rows] = array
                wire.send((well, value, rows, absent))
                del arrays  # or the engine would not use their memory again
            except (EOFError, ConnectionError):
                return ""


def _letter(error: BaseException) -> bytes:
    """`error`, in the one form in which any can be pickled."""
    return letters.dumps(("", 0, None, error, None))


def _meet(fast: Fast) -> tuple[Wire, mmap.mmap]:
    near = socket.socket(socket.AF_UNIX)
    near.connect(fast.address)
    near.sendall(fast.token)
    _, files, _, _ = socket.recv_fds(near, 1, 1)
    try:
        return Wire(near), mmap.mmap(files[0], fast.nbytes)
    finally:
        os.close(files[0])
