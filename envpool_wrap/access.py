"""What `call`, `get_attr`, `set_attr`, `render`, `env_is_wrapped` and adapters do to one env, on its worker.

Each is a frozen dataclass that is called with the env, so that it can be sent to another process. Attributes
are looked for as Gymnasium does: in the outermost wrapper that has them.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from envpool_protocol import _core
from envpool_protocol.envpool_protocol import EnvPoolProtocol
from envpool_protocol.errors import WORKER, ProtocolError
from envpool_wrap.failures import failure_of, raise_failures


def apply(pool: _core.Pool, function: Callable[[Any], Any], env_id: Any) -> list[Any]:
    """`function(env)` of idle envs, on their workers; one result per env.

    Raises:
        PendingCallError: one of the envs is in flight.
        WorkerDied: its worker did.
        Exception: whatever the function raises, with its traceback.
    """
    results, failures = pool.apply(function, env_id)
    if failures:
        failure = failure_of(failures[0])
        if failure.hook == WORKER:
            raise_failures(failures)
        failure.exception.add_note(f"in env {failure.env_id}")
        if failure.exception.__traceback__ is None:  # it came from another process
            failure.exception.add_note(failure.traceback)
        raise failure.exception
    return results


def read(env: Any, name: str) -> Any:
    """`env.name`, of whichever wrapper has it; `name` may be dotted."""
    first, _, rest = name.partition(".")
    through_wrappers = getattr(env, "get_wrapper_attr", None)
    value = getattr(env, first) if through_wrappers is None else through_wrappers(first)
    return operator.attrgetter(rest)(value) if rest else value


def wrappers(env: Any) -> Iterator[Any]:
    """The env, and what it wraps, down to the innermost."""
    seen: set[int] = set()
    while env is not None and id(env) not in seen:
        seen.add(id(env))
        yield env
        env = getattr(env, "__dict__", {}).get("env")


@dataclass(frozen=True)
class Call:
    """`env.name(*args, **kwargs)`."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, env: Any) -> Any:
        return read(env, self.name)(*self.args, **self.kwargs)


@dataclass(frozen=True)
class CallOrRead(Call):
    """What Gymnasium's `call` does: the same, or the attribute where it cannot be called."""

    def __call__(self, env: Any) -> Any:
        value = read(env, self.name)
        return value(*self.args, **self.kwargs) if callable(value) else value


@dataclass(frozen=True)
class Read:
    """`env.name`."""

    name: str

    def __call__(self, env: Any) -> Any:
        return read(env, self.name)


@dataclass(frozen=True)
class Has:
    """Whether there is an `env.name`. The value stays where it is: a bound method is not sent anywhere."""

    name: str

    def __call__(self, env: Any) -> bool:
        try:
            read(env, self.name)
        except AttributeError:
            return False
        return True


@dataclass(frozen=True)
class Write:
    """`env.name = value`, in the wrapper that has the attribute, else in the outermost."""

    name: str
    value: Any

    def __call__(self, env: Any) -> None:
        through_wrappers = getattr(env, "set_wrapper_attr", None)
        if through_wrappers is not None:
            through_wrappers(self.name, self.value)
            return
        owns = (
            one
            for one in wrappers(env)
            if self.name in getattr(one, "__dict__", {}) or hasattr(type(one), self.name)
        )
        setattr(next(owns, env), self.name, self.value)


@dataclass(frozen=True)
class Render:
    """One frame: `_render_envpool()`, `render()`, or what dm_control's physics shows."""

    def __call__(self, env: Any) -> Any:
        if isinstance(env, EnvPoolProtocol):
            return env._render_envpool()
        if not hasattr(env, "render"):
            return read(env, "physics.render")()
        if getattr(env, "render_mode", "unknown") is None:
            raise ProtocolError(f"{env} has no render_mode; make the pool with render_mode='rgb_array'")
        takes_mode = "mode" in inspect.signature(env.render).parameters  # old gym's
        return env.render(mode="rgb_array") if takes_mode else env.render()


@dataclass(frozen=True)
class RenderMode:
    """`env.render_mode`; `"rgb_array"` where `Render` needs none, None where there is nothing to render."""

    def __call__(self, env: Any) -> Any:
        if isinstance(env, EnvPoolProtocol):
            overridden = type(env)._render_envpool is not EnvPoolProtocol._render_envpool
            return "rgb_array" if overridden else None
        return getattr(env, "render_mode", "rgb_array" if hasattr(env, "physics") else None)


@dataclass(frozen=True)
class IsWrapped:
    """Whether a wrapper of that class is around the env."""

    wrapper: type

    def __call__(self, env: Any) -> bool:
        return any(isinstance(one, self.wrapper) for one in wrappers(env))

    def __reduce__(self) -> tuple[Any, ...]:
        return IsWrappedIn, (self.wrapper.__module__, self.wrapper.__qualname__)


@dataclass(frozen=True)
class IsWrappedIn:
    """The same in another process, by name: importing the class there, and all that it needs, may be slow."""

    module: str
    qualname: str

    def __call__(self, env: Any) -> bool:
        classes = (cls for one in wrappers(env) for cls in type(one).__mro__)
        return any((cls.__module__, cls.__qualname__) == (self.module, self.qualname) for cls in classes)
