"""Steps that nobody waits for any more, as after a timeout or Ctrl-C: an adapter's `reset` drops them."""

from __future__ import annotations

import contextlib

from envpool_protocol.errors import EnvError, WorkerDied
from envpool_wrap.pool import Pool


def drop_pending(pool: Pool) -> None:
    """Receive what is in flight in a synchronous pool; what failed there is told to nobody.

    Raises:
        PoolTimeout: it is not there in time. Nothing is lost.
    """
    while pool._core.num_pending_batches:
        with contextlib.suppress(EnvError, WorkerDied):
            pool.recv()
