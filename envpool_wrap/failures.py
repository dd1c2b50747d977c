"""From what the engine knows of a failed row to the error that the user sees."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from envpool_protocol.errors import WORKER, EnvError, EnvFailure, PoolError, WorkerDied


def failure_of(facts: Sequence[Any]) -> EnvFailure:
    """One failure: (env_id, row, seed, hook, elapsed_step, action, exception, traceback text or None)."""
    env_id, _row, seed, hook, elapsed_step, action, exception, text = facts
    text = text or "".join(traceback.format_exception(exception))
    return EnvFailure(env_id, hook, seed, elapsed_step, action, exception, text)


def error_of(failures: Iterable[Sequence[Any]], result: Any = None) -> PoolError:
    """The error for a batch's failures: `WorkerDied` if the first is a dead worker, else `EnvError`."""
    known = [failure_of(facts) for facts in failures]
    kind = WorkerDied if known[0].hook == WORKER else EnvError
    return kind(known, result)


def raise_failures(failures: Iterable[Sequence[Any]], result: Any = None) -> None:
    """Raise `error_of` these failures."""
    raise error_of(failures, result)
