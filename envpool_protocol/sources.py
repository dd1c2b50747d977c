"""What may be registered, and whether it can be used: checked before anything is built.

an EnvPoolProtocol class                    HookClass, also when it is a gymnasium Env besides
a gymnasium, gym or dm_env class            EnvClass
a gymnasium id, or gymnasium's EnvSpec      GymnasiumId
a function f(envid, **kwargs)               Factory: returns an env of any kind
a list of envs                              Instances: they stay in this process
a list of functions without arguments       Thunks, by `thunks()` only
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from envpool_protocol.cpp_text import identifier
from envpool_protocol.descriptions import Description, api_of, has_base
from envpool_protocol.envpool_protocol import EnvPoolProtocol
from envpool_protocol.errors import ProtocolError, RegistrationError
from envpool_protocol.hook_checks import check_hooks, check_init
from envpool_protocol.signatures import signature_of
from envpool_protocol.source_kinds import (
    EnvClass,
    Factory,
    GymnasiumId,
    HookClass,
    Instances,
    Source,
    Thunks,
    arguments,
)

__all__ = ["Description", "Source", "checked_name", "listed", "source_of", "thunks"]


def source_of(
    env: Any, name: str | None = None, kwargs: Mapping[str, Any] | None = None, compiled: bool = False
) -> Source:
    """Check what the user wants to register.

    Raises:
        RegistrationError: it is not something that can be registered, or to be compiled, or a bad name.
        ProtocolError: a hook is missing or has the wrong signature, or no env can be built with `kwargs`.
    """
    kwargs = dict(kwargs or {})
    if compiled:
        return _compiled_source(env, name, kwargs)
    if isinstance(env, str):
        return _gymnasium_source(_spec_of(env), name, kwargs)
    if has_base(type(env), "gymnasium", "EnvSpec"):
        return _gymnasium_source(env, name, kwargs)
    if isinstance(env, type):
        return _class_source(env, name, kwargs)
    if isinstance(env, list | tuple):
        return _instances(env, name, kwargs)
    if _is_env(env):
        raise RegistrationError(
            f"cannot register {env!r:.80}: pass the class, not an instance, or a function that makes envs; "
            "live envs are given as a list, one per env of the pool"
        )
    if callable(env):
        return _factory(env, name, kwargs)
    raise RegistrationError(f"cannot register {env!r:.80}: expected {_EXPECTED}")


_EXPECTED = (
    "a subclass of EnvPoolProtocol, a gymnasium, gym or dm_env class, a gymnasium id such as 'CartPole-v1', "
    "a function f(envid) that returns an env, or a list of envs"
)


def _compiled_source(env: Any, name: str | None, kwargs: Mapping[str, Any]) -> Source:
    if not (isinstance(env, type) and issubclass(env, EnvPoolProtocol)):
        raise RegistrationError(
            f"compiled=True: {env!r:.80} is no subclass of EnvPoolProtocol; only hooks can be compiled"
        )
    return replace(_class_source(env, name, kwargs), compiled=True)


def _class_source(cls: type, name: str | None, kwargs: Mapping[str, Any]) -> Source:
    if issubclass(cls, EnvPoolProtocol):
        check_hooks(cls)
        check_init(cls, kwargs)
        return HookClass(cls, checked_name(name, cls.__name__), kwargs)
    methods: list[Any] = [getattr(cls, method, None) for method in ("reset", "step")]
    if not all(map(callable, methods)):
        raise RegistrationError(f"cannot register the class {cls.__qualname__}: expected {_EXPECTED}")
    missing = sorted(getattr(cls, "__abstractmethods__", ())) or [m.__name__ for m in methods if _is_stub(m)]
    if missing:
        raise ProtocolError(f"{cls.__qualname__} does not define {', '.join(missing)}; every env needs it")
    signature = signature_of(cls)
    try:
        if signature is not None:
            signature.bind(**kwargs)
    except TypeError as error:
        call = f"{cls.__qualname__}({arguments(kwargs)})"
        raise ProtocolError(
            f"{cls.__qualname__} cannot be built as {call}: {error}. Pass its arguments to register_env, or "
            "register a function f(envid) that builds it"
        ) from None
    return EnvClass(cls, checked_name(name, cls.__name__), kwargs)


def _is_stub(method: Any) -> bool:
    """Whether a method is the one of the libraries' base classes, which raises."""
    library = str(method.__module__).partition(".")[0]
    return library in ("gymnasium", "gym") and method.__qualname__.startswith("Env.")


def _gymnasium_source(spec: Any, name: str | None, kwargs: Mapping[str, Any]) -> GymnasiumId:
    from gymnasium.envs.registration import load_env_creator

    if spec.entry_point is None:
        raise RegistrationError(
            f"gymnasium's {spec.id} has no entry_point: only a vector env of it can be made"
        )
    if isinstance(spec.entry_point, str):
        try:
            load_env_creator(spec.entry_point)
        except (ImportError, AttributeError) as error:
            raise RegistrationError(f"gymnasium's {spec.id} cannot be imported: {error}") from error
    return GymnasiumId(spec, checked_name(name, re.sub(r"[/:]", "_", spec.id)), kwargs)


def _spec_of(given: str) -> Any:
    """gymnasium's EnvSpec of an id, or of "module:id": the module is imported, and registers it."""
    import gymnasium

    module, _, env_id = given.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        return gymnasium.spec(env_id)
    except (ImportError, gymnasium.error.Error) as error:
        raise RegistrationError(
            f"{given!r} is no env that gymnasium knows ({error}). If a package registers it, import that "
            "first, or write 'package:id'"
        ) from error


def _factory(function: Callable[..., Any], name: str | None, kwargs: Mapping[str, Any]) -> Factory:
    own_name = getattr(function, "__name__", "<lambda>")
    if name is None and own_name == "<lambda>":
        raise RegistrationError(f"{function!r} has no name of its own: register_env(..., name='MyEnv')")
    label = getattr(function, "__qualname__", repr(function))
    signature = signature_of(function)
    if signature is None:
        raise RegistrationError(f"the parameters of {label} cannot be read; wrap it: lambda envid: ...")
    first = next(iter(signature.parameters.values()), None)
    takes_envid = first is not None and (
        first.kind is first.VAR_POSITIONAL
        or (
            first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
            and (first.default is first.empty or first.name in ("envid", "env_id"))
        )
    )
    if not takes_envid:
        raise ProtocolError(
            f"{label}{signature} takes no envid; write f(envid, **kwargs): envid is the env's number in its "
            "pool. A list of functions without arguments goes to envpool_wrap.from_env_fns"
        )
    try:
        signature.bind(0, **kwargs)
    except TypeError as error:
        call = f"{label}({arguments(kwargs, 'envid')})"
        raise ProtocolError(f"{label} cannot be called as {call}: {error}") from None
    return Factory(function, checked_name(name, own_name), kwargs)


def _instances(envs: Sequence[Any], name: str | None, kwargs: Mapping[str, Any]) -> Instances:
    if not envs:
        raise RegistrationError("cannot register an empty list; expected at least one env")
    for index, env in enumerate(envs):
        if not _is_env(env):
            hint = "; functions go to envpool_wrap.from_env_fns" if callable(env) else ""
            raise RegistrationError(f"instance {index} of the list is {env!r:.80}; expected an env{hint}")
    if len({id(env) for env in envs}) < len(envs):
        raise RegistrationError(
            "one env is in the list more than once; expected one instance per env of the pool"
        )
    if kwargs:
        raise RegistrationError(f"{arguments(kwargs)}: envs that are built already take no arguments")
    return Instances(envs, checked_name(name, type(envs[0]).__name__), {})


def listed(envs: Any, name: str | None = None) -> Instances | Thunks:
    """The source of a list: of live envs, or of functions without arguments.

    Raises:
        RegistrationError: neither, or some of both; an empty list; a bad name.
    """
    if isinstance(envs, list | tuple) and envs and _is_env(envs[0]):
        return _instances(envs, name, {})
    return thunks(envs, name)


def thunks(env_fns: Any, name: str | None) -> Thunks:
    """The source of a list of functions without arguments.

    Raises:
        RegistrationError: not a list of functions, an empty one, or a bad name.
    """
    if isinstance(env_fns, str | Mapping) or not isinstance(env_fns, Sequence) or not env_fns:
        raise RegistrationError(f"env_fns={env_fns!r:.80}: expected a list of functions without arguments")
    for index, function in enumerate(env_fns):
        if not callable(function):
            raise RegistrationError(
                f"env_fns[{index}] is {function!r:.80}; expected a function without arguments"
            )
    return Thunks(tuple(env_fns), checked_name(name, "env_fns"))


_LONGEST = 180  # of a name as part of a file's, which may have 255 characters


def checked_name(name: Any, default: str) -> str:
    """`name`, or the default for None.

    Raises:
        RegistrationError: it has other letters than task ids may have, or too many.
    """
    name = default if name is None else name
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name)):
        raise RegistrationError(f"name={name!r}: expected letters, digits, _, - and ., such as 'MyEnv'")
    if len(identifier(name)) > _LONGEST:
        raise RegistrationError(f"name={name!r:.80}: too long for names of files; give a shorter one")
    return name


def _is_env(env: Any) -> bool:
    try:
        return bool(api_of(env))
    except ProtocolError:
        return False
