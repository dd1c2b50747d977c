"""What may be registered, and what a pool needs to know of it.

A source is checked once, when it is registered; `describe()` builds one env to read its spaces. Today a
source is a class that follows `EnvPoolProtocol`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from envpool_protocol.envpool_protocol import OPTIONAL_HOOKS, REQUIRED_HOOKS, EnvPoolProtocol
from envpool_protocol.errors import ProtocolError, RegistrationError
from envpool_protocol.spaces import space_description, space_spec
from envpool_protocol.spec import EnvSpec

Library = Literal["gymnasium", "gym"]

# Positional arguments of each hook after self; _reset_envpool may have keyword arguments besides.
_ARGUMENTS = {"_step_envpool": 1, "_seed_envpool": 1}

_NOT_PLAIN = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


@dataclass(frozen=True)
class Description:
    """All facts of an env that its module and its faces need, as another interpreter can read them.

    Attributes:
        spec: leaves and hooks.
        observation_space, action_space: see `space_description`.
        library: whose spaces the env was described with.
    """

    spec: EnvSpec
    observation_space: Mapping[str, Any]
    action_space: Mapping[str, Any]
    library: Library

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        return {**vars(self), "spec": self.spec.describe()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Description:
        """The description that `to_json` was called on."""
        return cls(**{**values, "spec": EnvSpec.from_description(values["spec"])})


@dataclass(frozen=True)
class Source:
    """An env class under a name.

    Attributes:
        cls: the class.
        name: the task id without `_wrap`.
        kwargs: what the constructor is given besides `envid`.
    """

    cls: type[EnvPoolProtocol]
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task_id(self) -> str:
        """The name to `make` it by."""
        return f"{self.name}_wrap"

    def make(self, envid: int, **kwargs: Any) -> EnvPoolProtocol:
        """Env number `envid`; `kwargs` win over the registered ones."""
        return self.cls(envid, **{**self.kwargs, **kwargs})  # type: ignore[call-arg]

    def describe(self, kwargs: Mapping[str, Any] | None = None) -> Description:
        """Build env 0, read its spaces, close it.

        Raises:
            ProtocolError: the constructor raised, or set no spaces.
            SpecError: a space is not supported.
        """
        try:
            env = self.make(0, **(kwargs or {}))
        except Exception as error:
            message = f"{self.cls.__qualname__}(envid=0) raised {type(error).__name__}: {error}"
            raise ProtocolError(f"{message}\nAn env must be buildable to read its spaces.") from error
        try:
            return describe_env(env, self.name)
        finally:
            env._close_envpool()


def source_of(env: Any, name: str | None = None, kwargs: Mapping[str, Any] | None = None) -> Source:
    """Check what the user wants to register.

    Raises:
        RegistrationError: it is not something that can be registered, or the name is not an identifier.
        ProtocolError: a hook is missing or has the wrong signature, or `__init__` takes no `envid`.
    """
    if not (isinstance(env, type) and issubclass(env, EnvPoolProtocol)):
        given = f"the class {env.__qualname__}" if isinstance(env, type) else repr(env)
        hint = "; pass the class, not an instance" if isinstance(env, EnvPoolProtocol) else ""
        raise RegistrationError(f"cannot register {given}: expected a subclass of EnvPoolProtocol{hint}")
    _check_hooks(env)
    _check_init(env, kwargs or {})
    name = env.__name__ if name is None else name
    if not (isinstance(name, str) and name.isidentifier() and name.isascii()):
        raise RegistrationError(f"name={name!r}: expected letters, digits and _, such as 'MyEnv'")
    return Source(env, name, dict(kwargs or {}))


def describe_env(env: EnvPoolProtocol, name: str) -> Description:
    """The description of a built env.

    Raises:
        ProtocolError: it has no spaces.
        SpecError: a space is not supported.
    """
    cls = type(env)
    for attribute in ("observation_space", "action_space"):
        if getattr(env, attribute, None) is None:
            raise ProtocolError(
                f"{cls.__qualname__} has no {attribute}; set it in __init__, "
                f"such as self.{attribute} = gymnasium.spaces.Box(-1.0, 1.0, (3,))"
            )
    spec = EnvSpec(
        name=name,
        obs=space_spec(env.observation_space, "obs"),
        action=space_spec(env.action_space, "action"),
        has_truncated=cls._truncated_envpool is not EnvPoolProtocol._truncated_envpool,
        has_info=cls._info_envpool is not EnvPoolProtocol._info_envpool,
        reset_takes_options=bool(inspect.signature(env._reset_envpool).parameters),
    )
    return Description(
        spec,
        space_description(env.observation_space, "observation_space"),
        space_description(env.action_space, "action_space"),
        _library(env.observation_space),
    )


def _library(space: Any) -> Library:
    modules = {base.__module__.partition(".")[0] for base in type(space).__mro__}
    return "gymnasium" if "gymnasium" in modules else "gym"


def _check_hooks(cls: type[EnvPoolProtocol]) -> None:
    missing = [hook for hook in REQUIRED_HOOKS if getattr(cls, hook) is getattr(EnvPoolProtocol, hook)]
    if missing:
        raise ProtocolError(f"{cls.__qualname__} does not define {', '.join(missing)}; every env needs it")
    for hook in REQUIRED_HOOKS + OPTIONAL_HOOKS:
        _check_signature(cls, hook, _ARGUMENTS.get(hook, 0))


def _check_signature(cls: type, hook: str, arguments: int) -> None:
    function = inspect.getattr_static(cls, hook)
    if isinstance(function, property) or not callable(getattr(cls, hook)):
        raise ProtocolError(f"{cls.__qualname__}.{hook} must be a method, found {function!r}")
    if any(kind(getattr(cls, hook)) for kind in _NOT_PLAIN):
        fault = "it would never be awaited or iterated; write a plain method"
        raise ProtocolError(f"{cls.__qualname__}.{hook} is a coroutine or generator: {fault}")
    signature = inspect.signature(getattr(cls, hook))
    # A static method gets no self; any other is looked up on the class here, where self is still to come.
    given = [None] * (arguments + (not isinstance(function, staticmethod | classmethod)))
    try:
        signature.bind(*given)
    except TypeError as error:
        wanted = f"{hook}(self{', action' if hook == '_step_envpool' else ', seed' if arguments else ''})"
        fault = f"{cls.__qualname__}.{hook}{signature} cannot be called as {wanted}: {error}"
        raise ProtocolError(fault) from None


def _check_init(cls: type, kwargs: Mapping[str, Any]) -> None:
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
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
        found = f"__init__{inspect.signature(cls.__init__)}"  # type: ignore[misc]
        raise ProtocolError(
            f"{cls.__qualname__}.{found} takes no envid; write `def __init__(self, envid, **kwargs)`: "
            "envid is the env's number in its pool"
        )
    try:
        inspect.signature(cls.__init__).bind(None, 0, **kwargs)  # type: ignore[misc]
    except TypeError as error:
        asked = ", ".join(["envid", *(f"{key}={value!r}" for key, value in kwargs.items())])
        raise ProtocolError(
            f"{cls.__qualname__} cannot be built as {cls.__qualname__}({asked}): {error}"
        ) from None
