"""Every error this project raises, as one tree.

    EnvPoolError
      ProtocolError          an env class does not follow the protocol      TypeError
      SpecError              a space or a value does not fit a spec         ValueError
      RegistrationError      a name could not be registered or found        ValueError
        UnknownEnvError      no env under that task id                      KeyError
        DuplicateEnvError    two different envs under one task id
      BuildError             rendering or compiling a module failed         RuntimeError
      ConfigError            an unknown or impossible pool setting          ValueError
      ActionError            a batch of actions or env ids is wrong         ValueError
      PoolError              a running pool cannot do what was asked        RuntimeError
        PendingCallError     something is in flight, or another thread is inside
        NothingPendingError  recv with nothing in flight
        PoolClosedError      use after close
        PoolTimeout          a deadline passed; nothing is lost             TimeoutError
        EnvError             an env raised
        WorkerDied           a worker process ended
        ForkedPoolError      use of a pool in a forked child

Each also inherits the builtin in the right-hand column, which is what a caller who does not know this
tree would catch. A message says what was given, what was expected, and what to do.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class EnvPoolError(Exception):
    """Base of every error of this project."""


class ProtocolError(EnvPoolError, TypeError):
    """An env class does not follow `EnvPoolProtocol`."""


class SpecError(EnvPoolError, ValueError):
    """A space is not supported, or a value does not fit its space."""


class RegistrationError(EnvPoolError, ValueError):
    """An env could not be registered or found."""


class UnknownEnvError(RegistrationError, KeyError):
    """No env is known under the given task id."""

    __str__ = Exception.__str__  # KeyError would show the message in quotes


class DuplicateEnvError(RegistrationError):
    """A task id already stands for a different env."""


class BuildError(EnvPoolError, RuntimeError):
    """A module could not be compiled.

    Attributes:
        output: what the compiler printed.
        source_path: the folder with the generated sources, or None when none were written.
    """

    def __init__(self, message: str, output: str = "", source_path: Any = None) -> None:
        super().__init__(message)
        self.output = output
        self.source_path = source_path


class ConfigError(EnvPoolError, ValueError):
    """A pool setting is unknown or impossible."""


class ActionError(EnvPoolError, ValueError):
    """A batch of actions or env ids was refused; nothing was sent."""


class PoolError(EnvPoolError, RuntimeError):
    """A running pool cannot do what was asked."""


class PendingCallError(PoolError):
    """Something is still in flight, or another thread is inside the pool."""


class NothingPendingError(PoolError):
    """`recv` was called with nothing in flight."""


class PoolClosedError(PoolError):
    """The pool was used after `close()`."""


class PoolTimeout(PoolError, TimeoutError):
    """A deadline passed. What was in flight still is: call `recv` again."""


WORKER = "worker"  # in place of a hook, when the process that would have called it died


@dataclass(frozen=True)
class EnvFailure:
    """What is known of one exception in one env.

    Attributes:
        env_id: the env that raised.
        hook: the method that raised, such as `_step_envpool`; `"worker"` when the worker process died.
        seed: the seed this env was last given, or None.
        elapsed_step: steps of the episode completed before this one.
        action: the action handed to the env, or None outside a step.
        exception: the exception itself.
        traceback: the full traceback as text.
    """

    env_id: int
    hook: str
    seed: int | None
    elapsed_step: int
    action: Any
    exception: BaseException
    traceback: str

    def __str__(self) -> str:
        kind = type(self.exception).__name__
        where = f"env {self.env_id}: {self.hook} raised {kind}: {text_of(self.exception)}"
        if self.hook == WORKER:
            return f"env {self.env_id}: {self.exception}"
        facts = f"seed {self.seed}, elapsed_step {self.elapsed_step}, action {self.action!r}"
        lines = [where, f"  {facts}"]
        if "Traceback" in self.traceback:  # else it is the exception once more
            lines.append(self.traceback.rstrip())
        return "\n".join(lines)


class _FailedRows(PoolError):
    """One or more rows of a batch failed; the first exception is the `__cause__`.

    A failed row is zeros and truncated, and its env resets on its next action. All other rows are as usual.

    Attributes:
        errors: one `EnvFailure` per failed row, in row order.
        result: what the call would have returned, or None when a pool was being made.
    """

    def __init__(self, errors: Iterable[EnvFailure], result: Any = None) -> None:
        self.errors = tuple(errors)
        self.result = result
        more = len(self.errors) - 1
        tail = f"\n(and {more} more; see .errors)" if more else ""
        super().__init__(f"{self.errors[0]}{tail}")
        self.__cause__ = self.errors[0].exception

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errors, self.result)

    env_id = property(lambda self: self.errors[0].env_id)
    hook = property(lambda self: self.errors[0].hook)
    seed = property(lambda self: self.errors[0].seed)
    elapsed_step = property(lambda self: self.errors[0].elapsed_step)
    action = property(lambda self: self.errors[0].action)
    traceback = property(lambda self: self.errors[0].traceback)


class EnvError(_FailedRows):
    """An env raised. `errors` says which and where, `result` is the whole batch."""


class WorkerDied(_FailedRows):
    """A worker process ended while it held envs. Sending to one of its envs starts it again."""


class ForkedPoolError(PoolError):
    """A pool was used in a forked child; make a new one there."""


def text_of(exception: BaseException) -> str:
    """`str(exception)`, or the next best where its own code raises, which must not hide it."""
    with contextlib.suppress(Exception):
        return str(exception)
    with contextlib.suppress(Exception):
        return repr(exception.args)
    return "(no text: its __str__ raised)"


def nearest(word: str, known: Iterable[str]) -> str:
    """` Nearest: 'x'.` for the known word closest to `word`, or an empty string."""
    found = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f" Nearest: {found[0]!r}." if found else ""
