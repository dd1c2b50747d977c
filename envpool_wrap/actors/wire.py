"""Messages over a stream socket, one at a time each way: most come with a single call of the system."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("<Q")
_AT_ONCE = 1 << 16


class Wire:
    """Sends what can be pickled. Who receives has asked, so that two messages never come together."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, message: Any) -> None:
        """Raises OSError when nobody is there."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._end.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self) -> Any:
        """Waits. Raises EOFError or OSError when nothing more will come."""
        data = self._some(_AT_ONCE)
        while len(data) < _LENGTH.size:
            data += self._some(_AT_ONCE)
        missing = _LENGTH.size + _LENGTH.unpack_from(data)[0] - len(data)
        if missing:
            pieces = [data]
            while missing:
                pieces.append(self._some(missing))
                missing -= len(pieces[-1])
            data = b"".join(pieces)
        return pickle.loads(memoryview(data)[_LENGTH.size :])

    def _some(self, most: int) -> bytes:
        data = self._end.recv(most)
        if not data:
            raise EOFError
        return data

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()
