"""What a pool needs to know of an env, read off a built one.

Four kinds of env are told apart, one row of `_APIS` each; the first that fits counts.

    hooks       a subclass of EnvPoolProtocol
    gymnasium   a gymnasium.Env
    dm_env      a dm_env.Environment, or anything with observation_spec and action_spec
    gym         a gym.Env, or anything with action_space, reset and step; observation_space may be missing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from envpool_protocol import dm_specs
from envpool_protocol.envpool_protocol import EnvPoolProtocol, takes_out
from envpool_protocol.errors import ProtocolError, SpecError
from envpool_protocol.inference import inferred_space
from envpool_protocol.info_spec import declared_info_space, info_spec
from envpool_protocol.signatures import signature_of
from envpool_protocol.spaces import space_description, space_from_description, space_spec
from envpool_protocol.spec import DTYPES, Api, EnvSpec

Library = Literal["gymnasium", "gym"]


@dataclass(frozen=True)
class Description:
    """All facts of an env that its module and its faces need, as another interpreter can read them.

    Attributes:
        spec: leaves, and how the env is called.
        observation_space, action_space: see `space_description`.
        info_space: the same of the declared info, or None.
        compiled: facts of its compiled hooks, or None: they are interpreted.
        library: whose spaces the env was described with.
    """

    spec: EnvSpec
    observation_space: Mapping[str, Any]
    action_space: Mapping[str, Any]
    library: Library
    info_space: Mapping[str, Any] | None = None
    compiled: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the way back."""
        values = {**vars(self), "spec": self.spec.describe()}
        if self.compiled is None:  # as before there were compiled hooks
            del values["compiled"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Description:
        """The description that `to_json` was called on."""
        return cls(**{**values, "spec": EnvSpec.from_description(values["spec"])})


def api_of(env: Any) -> Api:
    """How a built env is called.

    Raises:
        ProtocolError: it is no env of a known kind.
    """
    cls = type(env)
    if has_base(cls, "gymnasium", "VectorEnv"):
        raise ProtocolError(
            f"{cls.__qualname__} is a vector env already; expected an env that steps one by one"
        )
    for api, row in _APIS.items():
        if not isinstance(env, type) and row.fits(env):
            return api
    given = f"{env!r:.80} of type {cls.__qualname__}"
    if isinstance(env, type):
        given = f"the class {env.__qualname__}, not an instance of it"
    kinds = "an EnvPoolProtocol, a gymnasium or gym Env, or a dm_env.Environment"
    raise ProtocolError(f"got {given}; expected an env: {kinds}")


def describe_env(env: Any, name: str, like: Description | None = None) -> Description:
    """The description of a built env.

    Args:
        env: the env. One of old gym's without an observation_space is reset, to infer it.
        name: the task name without `_wrap`.
        like: of another env of this kind: its observation space is that of an env that has none.

    Raises:
        ProtocolError: it is no env, or has no spaces.
        SpecError: a space or spec is not supported.
    """
    api = api_of(env)
    row = _APIS[api]
    observation_space, action_space = row.spaces(env, like)
    info_space = None if api == "dm_env" else declared_info_space(env)
    spec = EnvSpec(
        name=name,
        obs=space_spec(observation_space, "obs"),
        action=space_spec(action_space, "action"),
        reward=DTYPES[row.reward],
        api=api,
        info=None if info_space is None else info_spec(info_space),
        **row.facts(env),
    )
    text = next((leaf.name for leaf in spec.obs.leaves if leaf.kind == "text"), None)
    if spec.obs_takes_out and text is not None:
        raise SpecError(
            f"{text} is text, which cannot be written into `out`; let _make_obs_envpool return it instead"
        )
    if info_space is not None and api == "hooks" and not spec.has_info:
        raise ProtocolError(
            f"{type(env).__qualname__} has an info_space, and no _info_envpool that would return such info"
        )
    return Description(
        spec,
        space_description(observation_space, "observation_space"),
        space_description(action_space, "action_space"),
        _library(action_space if getattr(env, "observation_space", None) is None else observation_space),
        None if info_space is None else space_description(info_space, "info_space"),
    )


def close_env(env: Any) -> None:
    """Close an env of any kind. Old gym's and dm_env's need not know how; a class was never opened."""
    if isinstance(env, type):
        return
    close = getattr(env, "_close_envpool" if isinstance(env, EnvPoolProtocol) else "close", None)
    if callable(close):
        close()


def has_base(cls: type, library: str, name: str) -> bool:
    """Whether `cls` is that class of the library or a subclass of it, without importing the library."""
    return any(b.__name__ == name and b.__module__.partition(".")[0] == library for b in cls.__mro__)


# The spaces of an env.


def _spaces(env: Any, like: Description | None) -> tuple[Any, Any]:
    return _attribute(env, "observation_space"), _attribute(env, "action_space")


def _spaces_or_inferred(env: Any, like: Description | None) -> tuple[Any, Any]:
    action_space = _attribute(env, "action_space")
    if getattr(env, "observation_space", None) is not None:
        return env.observation_space, action_space
    if like is not None:
        return space_from_description(like.observation_space, "gymnasium"), action_space
    return inferred_space(env, "seed" in _reset_parameters(env)), action_space


def _attribute(env: Any, name: str) -> Any:
    space = getattr(env, name, None)
    if space is None:
        raise ProtocolError(
            f"{type(env).__qualname__} has no {name}; set it in __init__, "
            f"such as self.{name} = gymnasium.spaces.Box(-1.0, 1.0, (3,))"
        )
    return space


def _spaces_of_specs(env: Any, like: Description | None) -> tuple[Any, Any]:
    reward = env.reward_spec() if hasattr(env, "reward_spec") else None
    if getattr(reward, "shape", ()) not in ((), (1,)):
        raise SpecError(f"reward: the spec {reward!r} is not one number, and a pool has one reward per env")
    return dm_specs.space_of(env.observation_spec(), "obs"), dm_specs.space_of(env.action_spec(), "action")


def _library(space: Any) -> Library:
    modules = {base.__module__.partition(".")[0] for base in type(space).__mro__}
    return "gymnasium" if "gymnasium" in modules else "gym"


# What else its module must know.


def _hook_facts(env: Any) -> dict[str, bool]:
    cls, reset = type(env), signature_of(env._reset_envpool)
    return {
        "has_truncated": cls._truncated_envpool is not EnvPoolProtocol._truncated_envpool,
        "has_info": cls._info_envpool is not EnvPoolProtocol._info_envpool,
        "obs_takes_out": takes_out(env._make_obs_envpool),
        "reset_takes_options": reset is not None and bool(reset.parameters),
    }


def _reset_facts(env: Any) -> dict[str, bool]:
    taken = _reset_parameters(env)
    return {
        "reset_takes_seed": "seed" in taken,
        "reset_takes_options": bool(taken & {"options", "env_info"}),
        "options_are_env_info": "env_info" in taken and "options" not in taken,
    }


def _reset_parameters(env: Any) -> set[str]:
    """The keywords that `env.reset` takes; a wrapper that passes all on takes what its env does."""
    signature = signature_of(env.reset)
    if signature is None:  # written in C: what gymnasium's say, and old gym's do not
        return {"seed", "options"} if has_base(type(env), "gymnasium", "Env") else set()
    parameters = signature.parameters
    taken = {
        name for name, one in parameters.items() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        inner = getattr(env, "env", None)
        taken |= {"seed", "options"} if inner is None else _reset_parameters(inner)
    return taken


class _ApiRow(NamedTuple):
    fits: Callable[[Any], bool]
    reward: str
    spaces: Callable[[Any, Description | None], tuple[Any, Any]]
    facts: Callable[[Any], dict[str, bool]]


def _has(*attributes: str) -> Callable[[Any], bool]:
    return lambda env: all(hasattr(env, attribute) for attribute in attributes)


_APIS: dict[Api, _ApiRow] = {
    "hooks": _ApiRow(lambda env: isinstance(env, EnvPoolProtocol), "float32", _spaces, _hook_facts),
    "gymnasium": _ApiRow(
        lambda env: has_base(type(env), "gymnasium", "Env"), "float64", _spaces, _reset_facts
    ),
    "dm_env": _ApiRow(
        _has("observation_spec", "action_spec", "reset", "step"), "float64", _spaces_of_specs, lambda env: {}
    ),
    "gym": _ApiRow(_has("reset", "step"), "float64", _spaces_or_inferred, _reset_facts),
}
