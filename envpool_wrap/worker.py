"""A worker process: run as a file by `processes.py`, never imported there.

Run with -P, since this folder's modules are not top-level ones. Reads its orders from an inherited file,
builds nothing but what the arena asks for, and steps the envs of its queue until it is told to stop. It ends
when the process that started it ends, however that comes about (the engine watches it), and it does not
hear a terminal's Ctrl-C (it has a process group of its own).
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback


def main(orders_fd: int, ready_fd: int) -> None:
    """Serve the arena that `orders_fd` describes; tell `ready_fd` when it starts, or why it cannot."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        orders = pickle.loads(read_all(orders_fd))
        os.close(orders_fd)
        os.set_inheritable(ready_fd, False)
        sys.path[:] = orders["path"]
        os.chdir(orders["folder"])
        from envpool_protocol import _core

        _core.end_with_parent(orders["parent"])
        from envpool_wrap import modules
        from envpool_wrap.registry import refusing_pools

        module = modules.load(orders["module"])
        with refusing_pools():
            factory = pickle.loads(orders["factory"])
        arena = orders["arena"] | {
            "shape": _core.EngineShape(**orders["arena"]["shape"]),
            "rules": _core.RowRules(**orders["arena"]["rules"]),
        }
        serve = _core.Worker(module=module.engine_module, factory=factory, **arena)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        os.write(ready_fd, text.encode("utf-8", "replace")[:60_000])
        sys.exit(1)
    os.write(ready_fd, b"\0")
    os.close(ready_fd)
    serve.run()


def read_all(fd: int) -> bytes:
    """The bytes of a file that others may be reading too."""
    size = os.fstat(fd).st_size
    data = b""
    while len(data) < size:
        data += os.pread(fd, size - len(data), len(data))
    return data


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
