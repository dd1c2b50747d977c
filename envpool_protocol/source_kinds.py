"""The kinds of sources: each knows how to build env number `envid`.

HookClass         cls(envid, **kwargs)
EnvClass          cls(**kwargs)
GymnasiumId       gymnasium.make(spec, disable_env_checker=True, **kwargs)
Factory           f(envid, **kwargs)
Instances         instances[envid]
Thunks            env_fns[envid]()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from envpool_protocol.descriptions import Description, close_env, describe_env
from envpool_protocol.errors import ConfigError, ProtocolError
from envpool_protocol.signatures import takes


@dataclass(frozen=True)
class Source:
    """An env under a name.

    Attributes:
        target: what was registered.
        name: the task id without `_wrap`.
        kwargs: what the constructor is given besides.
        compiled: whether its hooks are to be machine code.
    """

    target: Any
    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    compiled: bool = False

    travels: ClassVar[bool] = True  # whether another interpreter can find it: such sources have records
    takes_kwargs: ClassVar[bool] = True

    @property
    def task_id(self) -> str:
        """The name to `make` it by."""
        return f"{self.name}_wrap"

    @property
    def label(self) -> str:
        """What messages call it."""
        return str(self.target.__qualname__)

    @property
    def place(self) -> str:
        """Where it comes from: two sources of one place are versions of one env."""
        return f"{self.target.__module__}.{self.target.__qualname__}"

    @property
    def num_envs(self) -> int | None:
        """How many envs there are, or None: as many as one likes."""
        return None

    def make(self, envid: int, /, **kwargs: Any) -> Any:
        """Env number `envid`; `kwargs` win over the registered ones."""
        raise NotImplementedError

    def call(self, envid: int) -> str:
        """How `make` builds it, for messages."""
        raise NotImplementedError

    def takes(self, parameter: str) -> bool:
        """Whether the constructor has a keyword argument of that name."""
        return takes(self.target, parameter)

    def describe(self, kwargs: Mapping[str, Any] | None = None) -> Description:
        """Build env 0, read its spaces, close it.

        Raises:
            ProtocolError: the constructor raised, made no env, or one without spaces.
            SpecError: a space is not supported.
        """
        try:
            env = self.make(0, **(kwargs or {}))
        except Exception as error:
            message = f"{self.call(0)} raised {type(error).__name__}: {error}"
            raise ProtocolError(f"{message}\nAn env must be buildable to read its spaces.") from error
        try:
            return describe_env(env, self.name)
        except ProtocolError as error:
            raise ProtocolError(f"{self.call(0)}: {error}") from error.__cause__
        finally:
            self._done_with(env)

    def _done_with(self, env: Any) -> None:
        close_env(env)


class HookClass(Source):
    """A class that follows `EnvPoolProtocol`."""

    def make(self, envid: int, /, **kwargs: Any) -> Any:
        return self.target(envid, **{**self.kwargs, **kwargs})

    def call(self, envid: int) -> str:
        return f"{self.label}(envid={envid})"

    def describe(self, kwargs: Mapping[str, Any] | None = None) -> Description:
        if not self.compiled:
            return super().describe(kwargs)
        from envpool_protocol.compiled.hooks import compiled_facts

        facts = compiled_facts(self)
        return replace(super().describe(kwargs), compiled=facts)


class EnvClass(Source):
    """A class of gymnasium, old gym or dm_env."""

    def make(self, envid: int, /, **kwargs: Any) -> Any:
        return self.target(**{**self.kwargs, **kwargs})

    def call(self, envid: int) -> str:
        return f"{self.label}({arguments(self.kwargs)})"


class Factory(Source):
    """A function of the env's number that returns an env of any kind."""

    @property
    def label(self) -> str:
        return str(getattr(self.target, "__qualname__", repr(self.target)))

    @property
    def place(self) -> str:
        return f"{getattr(self.target, '__module__', '')}.{self.label}"

    def make(self, envid: int, /, **kwargs: Any) -> Any:
        return self.target(envid, **{**self.kwargs, **kwargs})

    def call(self, envid: int) -> str:
        return f"{self.label}({arguments(self.kwargs, str(envid))})"


class GymnasiumId(Source):
    """An env that gymnasium knows; `target` is gymnasium's EnvSpec, so that workers need no registration."""

    @property
    def label(self) -> str:
        return str(self.target.id)

    @property
    def place(self) -> str:
        return f"gymnasium's {self.label}"

    def make(self, envid: int, /, **kwargs: Any) -> Any:
        import gymnasium

        return gymnasium.make(self.target, **{"disable_env_checker": True, **self.kwargs, **kwargs})

    def call(self, envid: int) -> str:
        return f"gymnasium.make({arguments(self.kwargs, repr(self.label))})"

    def takes(self, parameter: str) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _gymnasium_id, (self.target, self.name, dict(self.kwargs))


def _gymnasium_id(target: Any, name: str, kwargs: Mapping[str, Any]) -> GymnasiumId:
    """A worker that unpickles a source imports what it needs then, while it refuses to make pools."""
    from gymnasium.envs.registration import load_env_creator

    if isinstance(target.entry_point, str):
        load_env_creator(target.entry_point)
    return GymnasiumId(target, name, kwargs)


class Instances(Source):
    """Live envs: env i of a pool is the i-th. They stay in this process, and are closed with their pool."""

    travels: ClassVar[bool] = False
    takes_kwargs: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return f"{len(self.target)} instances of {type(self.target[0]).__qualname__}"

    @property
    def place(self) -> str:
        return self.label

    @property
    def num_envs(self) -> int:
        return len(self.target)

    def make(self, envid: int, /, **kwargs: Any) -> Any:
        return self.target[envid]

    def call(self, envid: int) -> str:
        return f"instance {envid}"

    def takes(self, parameter: str) -> bool:
        return False

    def _done_with(self, env: Any) -> None:
        pass

    def __reduce__(self) -> tuple[Any, ...]:
        raise ConfigError(
            f"{self.task_id} is {self.label}, which stay in this process; use backend='inline' or 'thread', "
            "or register a class or factory that worker processes can build envs with"
        )


class Thunks(Source):
    """Functions without arguments, one per env, as Gymnasium's AsyncVectorEnv takes them."""

    travels: ClassVar[bool] = False
    takes_kwargs: ClassVar[bool] = False

    @property
    def label(self) -> str:
        return f"{len(self.target)} env_fns"

    @property
    def num_envs(self) -> int:
        return len(self.target)

    def make(self, envid: int, /, **kwargs: Any) -> Any:
        return self.target[envid]()

    def call(self, envid: int) -> str:
        return f"env_fns[{envid}]()"

    def takes(self, parameter: str) -> bool:
        return False


def arguments(kwargs: Mapping[str, Any], *first: str) -> str:
    """Arguments of a call, for messages."""
    return ", ".join([*first, *(f"{key}={value!r}" for key, value in kwargs.items())])
