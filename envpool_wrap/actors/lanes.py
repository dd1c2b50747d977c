"""How the pool asks an actor: one question at a time, and a descriptor that is readable once it answered.

CallLane   a call of the actor; arrays come through Ray's object store. From any node.
FastLane   on one machine: rows lie in memory that both have, a socket says when. No Ray on the way: a call
           of an actor costs several hundred µs, this some 20.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import select
import socket
import sys
import time
from typing import Any, Protocol

import ray

from envpool_wrap import letters
from envpool_wrap.actors.host import Fast
from envpool_wrap.actors.rows import Arrays, Element
from envpool_wrap.actors.wire import Wire

MEETING_DEADLINE = 10.0  # seconds for an actor to come to the socket
OBITUARY_DEADLINE = 2.0  # seconds for Ray to know why an actor is gone
SHUT_DOWN = "Ray was shut down"  # asked anything then, it would start anew


class ActorGone(Exception):
    """The actor died, or cannot be reached any more; the text is Ray's."""


class Lane(Protocol):
    """To and from one actor."""

    def ask(self, name: str, args: tuple[Any, ...], arrays: Arrays = ()) -> None:
        """Ask a question; the one before is answered."""

    def answer(self) -> tuple[Any, Arrays]:
        """Once readable: the value, and arrays that hold until the next question.

        Raises:
            ActorGone: there will be no answer.
            Exception: what answering raised.
        """

    def fileno(self) -> int:
        """Readable when there is an answer, or when there will be none."""

    def close(self) -> None:
        """Ask nothing any more."""


class CallLane:
    """Questions are calls of the actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._near, self._far = socket.socketpair()
        self._future: Any = None

    def ask(self, name: str, args: tuple[Any, ...], arrays: Arrays = ()) -> None:
        if not ray.is_initialized():
            self._future = None
            self._wake(None)
            return
        self._future = self._actor.do.remote(name, args, list(arrays)).future()
        self._future.add_done_callback(self._wake)

    def _wake(self, future: Any) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile
            self._far.send(b"\0")

    def answer(self) -> tuple[Any, Arrays]:
        self._near.recv(1)
        if self._future is None:
            raise ActorGone(SHUT_DOWN)
        try:
            answer = self._future.result()
        except ray.exceptions.RayError as error:
            raise ActorGone(str(error)) from None
        finally:
            self._future = None
        return opened(*answer)

    def fileno(self) -> int:
        return self._near.fileno()

    def close(self) -> None:
        self._near.close()
        self._far.close()


class FastLane:
    """Questions go over a socket, rows through memory.

    Raises:
        ConnectionError: the actor is on this node, and yet the two do not meet, as in containers.
    """

    def __init__(self, actor: Any, rows: int, actions: list[Element], states: list[Element]) -> None:
        address, token = f"\0envpool-wrap-{secrets.token_hex(16)}", secrets.token_bytes(16)
        fast = Fast(address, token, rows, actions, states)
        with socket.socket(socket.AF_UNIX) as meeting:
            meeting.bind(address)
            meeting.listen(1)
            self._serving = actor.serve.remote(fast)
            near = _met(meeting, self._serving, token)
        with open(os.memfd_create("envpool-rows"), "r+b") as memory:
            memory.truncate(fast.nbytes)
            socket.send_fds(near, [b"\0"], [memory.fileno()])
            self._actions, self._states = fast.arrays(mmap.mmap(memory.fileno(), fast.nbytes))
            self._wire = Wire(near)

    def ask(self, name: str, args: tuple[Any, ...], arrays: Arrays = ()) -> None:
        rows = 0
        for memory, array in zip(self._actions, arrays, strict=bool(arrays)):
            rows = len(array)
            memory[:rows] = array
        with contextlib.suppress(OSError):  # nobody there: the descriptor says so
            self._wire.send((name, args, rows))

    def answer(self) -> tuple[Any, Arrays]:
        try:
            well, value, rows, absent = self._wire.receive()
        except (EOFError, OSError):
            raise ActorGone(self._obituary()) from None
        arrays: list[Any] = [array[:rows] for array in self._states] if rows else []
        for place in absent:
            arrays[place] = None
        return opened(well, value, arrays)

    def _obituary(self) -> str:
        if not ray.is_initialized():
            return SHUT_DOWN
        try:
            ray.get(self._serving, timeout=OBITUARY_DEADLINE)
        except ray.exceptions.GetTimeoutError:
            return "its process closed the connection"
        except Exception as error:
            return str(error)
        return "it stopped serving"

    def fileno(self) -> int:
        return self._wire.fileno()

    def close(self) -> None:
        self._wire.close()


def lane_to(actor: Any, node: str, rows: int, actions: list[Element], states: list[Element]) -> Lane:
    """The fast lane if the actor is on this node, else calls."""
    if node == ray.get_runtime_context().get_node_id() and sys.platform.startswith("linux"):
        with contextlib.suppress(ConnectionError):
            return FastLane(actor, rows, actions, states)
    return CallLane(actor)


def opened(well: bool, value: Any, arrays: Arrays) -> tuple[Any, Arrays]:
    """An answer; raises the error that it holds."""
    if not well:
        raise letters.loads(value)[3]
    return value, arrays


def _met(meeting: socket.socket, serving: Any, token: bytes) -> socket.socket:
    """The connection of whoever knows the token. Anybody on this machine may knock."""
    poll = select.poll()
    poll.register(meeting, select.POLLIN)
    until = time.monotonic() + MEETING_DEADLINE
    while time.monotonic() < until:
        if poll.poll(50):
            near, _ = meeting.accept()
            near.settimeout(1.0)
            with contextlib.suppress(OSError):
                if secrets.compare_digest(near.recv(len(token), socket.MSG_WAITALL), token):
                    near.settimeout(None)
                    return near
            near.close()
        if ray.wait([serving], timeout=0)[0]:
            break
    raise ConnectionError("the actor does not come to the socket")
