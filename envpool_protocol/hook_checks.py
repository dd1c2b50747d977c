"""Whether a class follows `EnvPoolProtocol`, before any of it is built: hooks, signatures, `__init__`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from envpool_protocol.envpool_protocol import OPTIONAL_HOOKS, REQUIRED_HOOKS, EnvPoolProtocol, takes_out
from envpool_protocol.errors import ProtocolError
from envpool_protocol.notices import notice
from envpool_protocol.signatures import signature_of
from envpool_protocol.source_kinds import arguments

# Positional arguments of each hook after self; _reset_envpool may have keyword arguments besides.
_GIVEN = {"_step_envpool": ["action"], "_seed_envpool": ["seed"]}

_NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def check_hooks(cls: type[EnvPoolProtocol]) -> None:
    """Raise ProtocolError unless every required hook is there and every hook can be called.

    A method that is an optional hook but for a letter or two would never be called: that is warned of.
    """
    missing = [hook for hook in REQUIRED_HOOKS if _is_default(cls, hook)]
    if missing:
        typos = ((_likely_typo(cls, hook), hook) for hook in missing)
        hints = "".join(f"; is {name} meant to be {hook}?" for name, hook in typos if name)
        needed = f"{cls.__qualname__} does not define {', '.join(missing)}; every env needs it"
        raise ProtocolError(needed + hints)
    for hook in OPTIONAL_HOOKS:
        if _is_default(cls, hook) and (name := _likely_typo(cls, hook)):
            notice(f"{cls.__qualname__}.{name} is no hook, so it is never called; is it meant to be {hook}?")
    for hook in REQUIRED_HOOKS + OPTIONAL_HOOKS:
        _check_signature(cls, hook)


def _is_default(cls: type, hook: str) -> bool:
    return getattr(cls, hook) is getattr(EnvPoolProtocol, hook)


def _likely_typo(cls: type, hook: str) -> str | None:
    """The name in a class that is nearly that of a hook."""
    names = [name for name in dir(cls) if name not in REQUIRED_HOOKS + OPTIONAL_HOOKS]
    return next(iter(difflib.get_close_matches(hook, names, n=1, cutoff=0.9)), None)


def _check_signature(cls: type, hook: str) -> None:
    function = inspect.getattr_static(cls, hook)
    if isinstance(function, property) or not callable(getattr(cls, hook)):
        raise ProtocolError(f"{cls.__qualname__}.{hook} must be a method, found {function!r}")
    if any(kind(getattr(cls, hook)) for kind in _NOT_PLAIN):
        fault = "it would never be awaited or iterated; write a plain method"
        raise ProtocolError(f"{cls.__qualname__}.{hook} is a coroutine or generator: {fault}")
    signature = signature_of(getattr(cls, hook))
    if signature is None:
        return
    given = _GIVEN.get(hook, [])
    if hook == "_make_obs_envpool" and takes_out(getattr(cls, hook)):
        given = ["out"]
    # A static method gets no self; any other is looked up on the class here, where self is still to come.
    myself = [] if isinstance(function, staticmethod | classmethod) else ["self"]
    try:
        signature.bind(*myself, *given)
    except TypeError as error:
        wanted = f"{hook}({', '.join(['self', *given])})"
        fault = f"{cls.__qualname__}.{hook}{signature} cannot be called as {wanted}: {error}"
        raise ProtocolError(fault) from None


def check_init(cls: type, kwargs: Mapping[str, Any]) -> None:
    """Raise ProtocolError unless the class can be built as `cls(envid, **kwargs)`, as far as it says."""
    signature = signature_of(cls.__init__)  # type: ignore[misc]
    if signature is None:
        return
    parameters = list(signature.parameters.values())[1:]
    if not any(name in vars(base) for base in cls.__mro__[:-1] for name in ("__init__", "__new__")):
        parameters = []  # object's own say (*args, **kwargs), and take nothing
    first = parameters[0] if parameters else None
    takes_envid = first is not None and (
        first.kind is first.VAR_POSITIONAL
        or (
            first.name in ("envid", "env_id")
            and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
        )
    )
    if not takes_envid:
        raise ProtocolError(
            f"{cls.__qualname__}.__init__{signature} takes no envid; write "
            "`def __init__(self, envid, **kwargs)`: envid is the env's number in its pool"
        )
    try:
        signature.bind(None, 0, **kwargs)
    except TypeError as error:
        call = f"{cls.__qualname__}({arguments(kwargs, 'envid')})"
        raise ProtocolError(f"{cls.__qualname__} cannot be built as {call}: {error}") from None
