"""What may be registered, and what is read off an env."""

from __future__ import annotations

import abc
import functools
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dm_env
import gymnasium
import numpy as np
import pytest
from envs import Counting, Faulty, Nested, WalkEnv
from gymnasium import spaces
from plain_envs import DMEcho, Echo, OldEcho

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.envpool_protocol import REQUIRED_HOOKS
from envpool_protocol.errors import ConfigError, ProtocolError, RegistrationError, SpecError
from envpool_protocol.source_kinds import EnvClass, Factory, GymnasiumId, HookClass, Instances
from envpool_protocol.sources import Description, source_of


def variant(**members: Any) -> type:
    """A `Counting` with other members, named MyEnv."""
    return type("MyEnv", (Counting,), members)


# Hooks


@pytest.mark.parametrize("hook", REQUIRED_HOOKS)
def test_class_missing_a_hook_is_refused_by_the_hooks_name(hook: str) -> None:
    with pytest.raises(ProtocolError, match=f"MyEnv does not define {hook};"):
        source_of(variant(**{hook: getattr(EnvPoolProtocol, hook)}))


def test_typo_in_the_name_of_a_hook_is_found() -> None:
    members = {"_dne_envpool": Counting._done_envpool, "_done_envpool": EnvPoolProtocol._done_envpool}
    with pytest.raises(ProtocolError, match=r"needs it; is _dne_envpool meant to be _done_envpool\?"):
        source_of(variant(**members))


def test_class_missing_several_hooks_hears_of_all_at_once() -> None:
    class Bare(EnvPoolProtocol):
        def __init__(self, envid: int) -> None: ...

    with pytest.raises(ProtocolError, match=", ".join(REQUIRED_HOOKS)):
        source_of(Bare)


def no_action(self: Any) -> None: ...
def two_actions(self: Any, action: Any, more: Any) -> None: ...
def keyword_only(self: Any, *, action: Any) -> None: ...


WRONG = {
    "takes no action": ("_step_envpool", no_action),
    "takes too much": ("_step_envpool", two_actions),
    "takes action by keyword only": ("_step_envpool", keyword_only),
    "forgot self": ("_make_obs_envpool", lambda: None),
    "has an argument": ("_done_envpool", lambda self, info: False),
    "static with self": ("_reward_envpool", staticmethod(lambda self: 1.0)),
    "static without action": ("_step_envpool", staticmethod(lambda: None)),
    "class method with more": ("_reset_envpool", classmethod(lambda cls, seed: None)),
    "reset with a required option": ("_reset_envpool", lambda self, level: None),
    "optional hook": ("_seed_envpool", lambda self: None),
}


@pytest.mark.parametrize(("hook", "function"), WRONG.values(), ids=WRONG)
def test_hook_that_cannot_be_called_is_refused_with_the_call_that_is_meant(hook: str, function: Any) -> None:
    argument = {"_step_envpool": ", action", "_seed_envpool": ", seed"}.get(hook, "")
    with pytest.raises(
        ProtocolError, match=rf"MyEnv\.{hook}\(.*cannot be called as {hook}\(self{argument}\)"
    ):
        source_of(variant(**{hook: function}))


@pytest.mark.parametrize("value", [property(lambda self: 1.0), 1.0, None], ids=["property", "number", "None"])
def test_hook_that_is_no_method_is_refused(value: Any) -> None:
    with pytest.raises(ProtocolError, match=r"MyEnv\._reward_envpool must be a method, found"):
        source_of(variant(_reward_envpool=value))


async def awaited(self: Any) -> bool:
    return False


def iterated(self: Any) -> Any:
    yield False


@pytest.mark.parametrize("function", [awaited, iterated])
def test_hook_whose_body_would_never_run_is_refused(function: Any) -> None:
    """A coroutine is true: the episode would end at every step."""
    with pytest.raises(ProtocolError, match=r"MyEnv\._done_envpool is a coroutine or generator"):
        source_of(variant(_done_envpool=function))


def traced(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


FINE = {
    "static": ("_done_envpool", staticmethod(lambda: False)),
    "class method": ("_reward_envpool", classmethod(lambda cls: 1.0)),
    "default values": ("_step_envpool", lambda self, action, speed=1: None),
    "variadic": ("_step_envpool", lambda *args: None),
    "positional only": ("_step_envpool", lambda self, act, /: None),
    "decorated": ("_step_envpool", traced(Counting._step_envpool)),
    "options": ("_reset_envpool", lambda self, **options: None),
}


@pytest.mark.parametrize(("hook", "function"), FINE.values(), ids=FINE)
def test_hook_that_can_be_called_is_taken_however_it_is_written(hook: str, function: Any) -> None:
    assert source_of(variant(**{hook: function})).task_id == "MyEnv_wrap"


# The constructor


def init_without_envid(self: Any) -> None: ...
def init_with_another_first(self: Any, render_mode: Any, envid: int) -> None: ...
def init_by_keyword(self: Any, *, envid: int) -> None: ...
def init_with_only_kwargs(self: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    "init", [init_without_envid, init_with_another_first, init_by_keyword, init_with_only_kwargs]
)
def test_init_that_takes_no_envid_is_refused_with_what_to_write(init: Any) -> None:
    with pytest.raises(
        ProtocolError, match=r"MyEnv\.__init__\(.*takes no envid; write `def __init__\(self, envid"
    ):
        source_of(variant(__init__=init))


def test_class_without_any_init_is_refused_when_it_is_registered() -> None:
    hooks = {hook: getattr(Counting, hook) for hook in REQUIRED_HOOKS}
    with pytest.raises(ProtocolError, match="takes no envid"):
        source_of(type("MyEnv", (EnvPoolProtocol,), hooks))


def init_numbered(self: Any, env_id: int, /) -> None: ...
def init_variadic(self: Any, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize("init", [init_numbered, init_variadic])
def test_init_that_takes_envid_by_another_way_is_taken(init: Any) -> None:
    source_of(variant(__init__=init))


class Opaque:
    """A callable that does not say what it takes, as many that are written in C."""

    __signature__ = 0  # makes inspect.signature raise

    def __init__(self, returned: Any = None) -> None:
        self.returned = returned

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.returned


def test_hooks_that_do_not_say_what_they_take_are_taken() -> None:
    obs = np.zeros(2, np.float32)
    cls = variant(_reset_envpool=Opaque(), _make_obs_envpool=Opaque(obs), _close_envpool=Opaque())
    spec = source_of(cls).describe().spec
    assert not spec.obs_takes_out and not spec.reset_takes_options


def test_a_reset_that_does_not_say_what_it_takes_is_what_its_library_says() -> None:
    class New(gymnasium.Env[Any, Any]):
        observation_space = action_space = spaces.Discrete(2)
        reset, step = Opaque(), Opaque()

    class Old:
        observation_space = action_space = spaces.Discrete(2)
        reset, step = Opaque(), Opaque()

    new, old = (source_of(lambda envid, cls=cls: cls(), "Opaque").describe().spec for cls in (New, Old))
    assert new.reset_takes_seed and new.reset_takes_options
    assert not old.reset_takes_seed and not old.reset_takes_options


def test_dataclass_env_is_taken() -> None:
    @dataclass
    class Data(Counting):
        envid: int

    source_of(Data)


def test_registered_arguments_that_init_does_not_take_are_refused_at_once() -> None:
    with pytest.raises(
        ProtocolError, match=r"cannot be built as Counting\(envid, ends_afer=3\).*'ends_afer'"
    ):
        source_of(Counting, kwargs={"ends_afer": 3})


def init_with_needed(self: Any, envid: int, size: int) -> None:
    Counting.__init__(self, envid)


def test_init_that_needs_an_argument_is_refused_until_it_is_registered_with_one() -> None:
    with pytest.raises(ProtocolError, match="'size'"):
        source_of(variant(__init__=init_with_needed))
    source_of(variant(__init__=init_with_needed), kwargs={"size": 3}).describe()


def test_pool_arguments_win_over_registered_ones() -> None:
    source = source_of(Counting, kwargs={"ends_after": 3})
    assert source.make(0).ends_after == 3  # type: ignore[attr-defined]
    assert source.make(0, ends_after=5).ends_after == 5  # type: ignore[attr-defined]


# What is registered, and its name


@pytest.mark.parametrize("env", [object, dict, 3, None, {"env": Counting}], ids=repr)
def test_what_is_no_env_of_any_kind_is_refused(env: Any) -> None:
    with pytest.raises(RegistrationError, match="expected a subclass of EnvPoolProtocol"):
        source_of(env)


def test_instance_is_refused_with_the_advice_to_pass_the_class() -> None:
    with pytest.raises(RegistrationError, match="pass the class, not an instance"):
        source_of(Counting(0))


@pytest.mark.parametrize("name", ["", "-env", "../up", "a/b", "a b", ".", "Größe", 3, 'x"', "x\n"])
def test_name_that_may_be_no_file_name_is_refused(name: Any) -> None:
    with pytest.raises(RegistrationError, match=r"expected letters, digits, _, - and \."):
        source_of(Counting, name)


@pytest.mark.parametrize("name", ["a" * 181, "a-" * 40])
def test_name_that_is_too_long_for_a_file_is_refused(name: str) -> None:
    with pytest.raises(RegistrationError, match="too long for names of files; give a shorter one"):
        source_of(Counting, name)


def test_name_defaults_to_the_classs_and_its_task_id_ends_in_wrap() -> None:
    assert (source_of(Counting).name, source_of(Counting).task_id) == ("Counting", "Counting_wrap")
    assert source_of(Counting, "other").task_id == "other_wrap"
    assert source_of(Counting, "CartPole-v1.2").task_id == "CartPole-v1.2_wrap"


# Describing


def test_class_without_spaces_is_told_which_one_to_set() -> None:
    with pytest.raises(ProtocolError, match="MyEnv has no observation_space; set it in __init__"):
        source_of(variant(__init__=lambda self, envid: None)).describe()

    def only_observations(self: Any, envid: int) -> None:
        self.observation_space = spaces.Discrete(2)

    with pytest.raises(ProtocolError, match="MyEnv has no action_space; set it"):
        source_of(variant(__init__=only_observations)).describe()


def test_init_that_raises_is_told_with_the_original_as_cause() -> None:
    source = source_of(Faulty, kwargs={"fail_in": "__init__", "error": OSError("no such robot")})
    with pytest.raises(ProtocolError, match=r"Faulty\(envid=0\) raised OSError: no such robot") as caught:
        source.describe()
    assert isinstance(caught.value.__cause__, OSError)


def test_abstract_class_is_refused_when_it_is_described() -> None:
    class Abstract(Counting, abc.ABC):
        @abc.abstractmethod
        def physics(self) -> None: ...

    with pytest.raises(ProtocolError, match="abstract"):
        source_of(Abstract).describe()


def closing(space: Any) -> tuple[type, list[str]]:
    closed: list[str] = []

    def init(self: Any, envid: int) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(2)

    return variant(__init__=init, _close_envpool=lambda self: closed.append("closed")), closed


def test_env_built_to_read_its_spaces_is_closed() -> None:
    env, closed = closing(spaces.Discrete(2))
    source_of(env).describe()
    assert closed == ["closed"]


def test_env_built_to_read_its_spaces_is_closed_even_when_they_are_refused() -> None:
    env, closed = closing(spaces.Sequence(spaces.Discrete(3)))
    with pytest.raises(SpecError, match="obs: the space Sequence is not supported"):
        source_of(env).describe()
    assert closed == ["closed"]


def test_spaces_of_the_class_are_as_good_as_spaces_of_the_instance() -> None:
    env = variant(
        __init__=lambda self, envid: None,
        observation_space=spaces.Discrete(2),
        action_space=spaces.Discrete(3),
    )
    assert source_of(env).describe().spec.obs.leaves[0].high == 1


@pytest.mark.parametrize("cls", [Counting, Nested, Faulty, WalkEnv])
def test_description_is_the_same_after_a_trip_through_json(cls: type) -> None:
    description = source_of(cls).describe()
    assert Description.from_json(json.loads(json.dumps(description.to_json()))) == description


def test_optional_hooks_are_found_by_what_the_class_overrides() -> None:
    plain, full = (source_of(cls).describe().spec for cls in (Counting, Faulty))
    assert (plain.has_truncated, plain.has_info, plain.reset_takes_options) == (False, False, False)
    assert (full.has_truncated, full.has_info, full.reset_takes_options) == (True, True, True)


@pytest.mark.parametrize(
    "reset",
    [lambda self, level=1: None, lambda self, *, level=1: None, lambda self, **options: None],
    ids=["default", "keyword", "all"],
)
def test_reset_options_are_found_by_signature(reset: Any) -> None:
    assert source_of(variant(_reset_envpool=reset)).describe().spec.reset_takes_options


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_reset_options_are_found_where_the_hook_takes_no_self(kind: Any) -> None:
    functions = {staticmethod: lambda **options: None, classmethod: lambda cls, **options: None}
    assert source_of(variant(_reset_envpool=kind(functions[kind]))).describe().spec.reset_takes_options
    without = {staticmethod: lambda: None, classmethod: lambda cls: None}
    assert not source_of(variant(_reset_envpool=kind(without[kind]))).describe().spec.reset_takes_options


def test_library_is_the_one_the_observation_space_came_from() -> None:
    gym = pytest.importorskip("gym.spaces", exc_type=ImportError)
    assert source_of(Counting).describe().library == "gymnasium"

    def init(self: Any, envid: int) -> None:
        self.observation_space = gym.Box(-1.0, 1.0, (3,), np.float32)
        self.action_space = gym.Discrete(2)

    assert source_of(variant(__init__=init)).describe().library == "gym"


def test_subclass_of_a_librarys_space_still_counts_as_that_librarys() -> None:
    class Mine(spaces.Box): ...

    env, _ = closing(Mine(-1, 1, (2,)))
    assert source_of(env).describe().library == "gymnasium"


# Classes of gymnasium, gym and dm_env


def test_class_that_is_hooks_and_gymnasium_env_counts_as_hooks() -> None:
    source = source_of(WalkEnv)
    assert isinstance(source, HookClass) and source.describe().spec.api == "hooks"


@pytest.mark.parametrize(("cls", "api"), [(Echo, "gymnasium"), (OldEcho, "gym"), (DMEcho, "dm_env")])
def test_class_is_built_without_envid_and_its_api_found(cls: type, api: str) -> None:
    source = source_of(cls, kwargs={"ends_after": 9})
    assert isinstance(source, EnvClass) and source.make(3).ends_after == 9
    assert source.make(3, ends_after=5).ends_after == 5
    spec = source.describe().spec
    assert (spec.name, spec.api, spec.reward.name) == (cls.__name__, api, "float64")
    assert (spec.reset_takes_seed, spec.reset_takes_options) == ((api == "gymnasium",) * 2)


def test_class_that_needs_arguments_is_refused_until_it_has_them() -> None:
    class Sized(Echo):
        def __init__(self, size: int) -> None:
            super().__init__()

    with pytest.raises(ProtocolError, match=r"Sized cannot be built as .*Sized\(\): missing .*'size'"):
        source_of(Sized)
    with pytest.raises(ProtocolError, match=r"Sized\(size=1, wide=2\): got an unexpected .*'wide'"):
        source_of(Sized, kwargs={"size": 1, "wide": 2})
    source_of(Sized, kwargs={"size": 1}).describe()


def test_abstract_classes_are_refused_by_what_they_lack() -> None:
    class NoStep(gymnasium.Env):  # type: ignore[type-arg]
        def reset(self, **kwargs: Any) -> Any: ...

    with pytest.raises(ProtocolError, match="NoStep does not define step;"):
        source_of(NoStep)
    with pytest.raises(ProtocolError, match="Env does not define reset, step;"):
        source_of(gymnasium.Env)
    with pytest.raises(ProtocolError, match="Environment does not define action_spec, observation_spec"):
        source_of(dm_env.Environment)


def test_vector_env_is_refused() -> None:
    source = source_of(lambda envid: gymnasium.make_vec("CartPole-v1", 2, "sync"), "Batched")
    with pytest.raises(ProtocolError, match=r"SyncVectorEnv is a vector env already"):
        source.describe()


@pytest.mark.parametrize("cls", [Echo, OldEcho, DMEcho])
def test_instance_of_another_api_is_refused_too(cls: type) -> None:
    with pytest.raises(RegistrationError, match=r"pass the class, not an instance.* given as a list"):
        source_of(cls())


@pytest.mark.parametrize("cls", [Echo, DMEcho])
def test_env_of_another_api_is_closed_after_its_spaces_are_read(cls: type) -> None:
    made: list[Any] = []
    source_of(lambda envid: made.append(cls()) or made[0], "Closing").describe()
    assert made[0].closed == 1


def test_old_gyms_own_classes_are_taken() -> None:
    gym = pytest.importorskip("gym", exc_type=ImportError)

    class Old(gym.Env):  # type: ignore[misc, name-defined]
        observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)

        def reset(self) -> Any: ...
        def step(self, action: Any) -> Any: ...

    description = source_of(Old).describe()
    assert (description.spec.api, description.library) == ("gym", "gym")
    with pytest.raises(ProtocolError, match="does not define reset, step"):
        source_of(gym.Env)


# Gymnasium ids


def test_id_is_named_after_itself_and_holds_gymnasiums_spec() -> None:
    source = source_of("CartPole-v1")
    assert isinstance(source, GymnasiumId) and source.task_id == "CartPole-v1_wrap"
    assert source.target is gymnasium.spec("CartPole-v1") and source.takes("render_mode")
    env = source.make(0, render_mode="rgb_array")
    assert env.render_mode == "rgb_array" and "PassiveEnvChecker" not in str(env) and "TimeLimit" in str(env)
    assert source_of(gymnasium.spec("CartPole-v1")).task_id == "CartPole-v1_wrap"


@pytest.fixture
def gymnasium_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    from gymnasium.envs import registration

    monkeypatch.setattr(registration, "registry", dict(registration.registry))


@pytest.mark.usefixtures("gymnasium_registry")
def test_id_with_a_namespace_and_a_module_becomes_a_name_without_slash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registers_echo.py").write_text(
        "import gymnasium\ngymnasium.register('my/Echo-v3', 'plain_envs:Echo', kwargs={'ends_after': 6})"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        RegistrationError, match=r"'my/Echo-v3' is no env that gymnasium knows .*'package:id'"
    ):
        source_of("my/Echo-v3")
    source = source_of("registers_echo:my/Echo-v3")
    assert source.task_id == "my_Echo-v3_wrap" and source.make(0).unwrapped.ends_after == 6
    with pytest.raises(RegistrationError, match="no_such_module"):
        source_of("no_such_module:my/Echo-v3")


@pytest.mark.parametrize("given", ["CartPol-v1", "CartPole-v99", "Counting", "", "a:", "NoNamespace/X-v0"])
def test_unknown_id_is_refused_with_what_to_do(given: str) -> None:
    with pytest.raises(RegistrationError, match=r"is no env that gymnasium knows .*import"):
        source_of(given)


@pytest.mark.usefixtures("gymnasium_registry")
def test_id_whose_class_cannot_be_imported_is_refused() -> None:
    gymnasium.register("Gone-v0", "no_such_module:Env")
    with pytest.raises(RegistrationError, match="gymnasium's Gone-v0 cannot be imported: No module named"):
        source_of("Gone-v0")
    gymnasium.register("OnlyVector-v0", vector_entry_point="no:where")
    with pytest.raises(RegistrationError, match="OnlyVector-v0 has no entry_point"):
        source_of("OnlyVector-v0")


def test_arguments_that_the_env_of_an_id_does_not_take_are_told_when_it_is_described() -> None:
    with pytest.raises(ProtocolError, match=r"gymnasium.make\('CartPole-v1', gravitas=3\) raised TypeError"):
        source_of("CartPole-v1", kwargs={"gravitas": 3}).describe()


# Factories


def numbered(envid: int, ends_after: int = 3) -> Echo:
    return Echo(ends_after + envid)


@pytest.mark.parametrize(
    "function",
    [numbered, lambda i: Echo(), lambda *args: Echo(), lambda env_id=0: Echo(), functools.partial(numbered)],
)
def test_function_of_the_envs_number_is_a_factory(function: Any) -> None:
    source = source_of(function, "Made")
    assert isinstance(source, Factory) and source.describe().spec.api == "gymnasium"


def test_factory_gets_number_and_arguments() -> None:
    source = source_of(numbered, kwargs={"ends_after": 10})
    assert source.task_id == "numbered_wrap" and source.make(2).ends_after == 12
    assert source.make(2, ends_after=5).ends_after == 7
    assert source.takes("ends_after") and not source.takes("render_mode")


@pytest.mark.parametrize("function", [lambda envid: Echo(), functools.partial(numbered)])
def test_factory_without_a_name_must_be_given_one(function: Any) -> None:
    with pytest.raises(RegistrationError, match=r"has no name of its own: register_env\(..., name='MyEnv'\)"):
        source_of(function)


def with_default(render_mode: Any = None) -> Any: ...
def by_keyword(*, envid: int) -> Any: ...


@pytest.mark.parametrize("function", [lambda: Echo(), with_default, by_keyword, lambda **kwargs: Echo()])
def test_function_that_takes_no_envid_is_refused_with_the_way_for_thunks(function: Any) -> None:
    with pytest.raises(ProtocolError, match=r"takes no envid; write f\(envid, .*from_env_fns"):
        source_of(function, "Made")


def test_factory_with_arguments_that_it_does_not_take_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"numbered cannot be called as numbered\(envid, size=2\)"):
        source_of(numbered, kwargs={"size": 2})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, "got None of type NoneType"),
        (3, "got 3 of type int"),
        (Echo, "got the class Echo, not an instance of it"),
        ((), r"got \(\) of type tuple"),
    ],
)
def test_factory_that_makes_no_env_is_told_what_it_made(made: Any, message: str) -> None:
    with pytest.raises(ProtocolError, match=rf"<lambda>\(0\): {message}; expected an env: "):
        source_of(lambda envid: made, "Made").describe()


def test_factory_may_make_an_env_with_hooks() -> None:
    assert source_of(lambda envid: Counting(envid), "Made").describe().spec.reward.name == "float32"


# Live envs


def test_list_of_envs_is_taken_as_it_is() -> None:
    envs = [Echo(), Echo()]
    source = source_of(envs)
    assert isinstance(source, Instances) and source.num_envs == 2 and source.name == "Echo"
    assert source.make(1) is envs[1]
    source.describe()
    assert [env.closed for env in envs] == [0, 0]
    with pytest.raises(ConfigError, match=r"Echo_wrap is 2 instances of Echo, which stay in this process"):
        pickle.dumps(source)


@pytest.mark.parametrize(
    ("envs", "kwargs", "message"),
    [
        ([], {}, "an empty list"),
        ([Echo(), 3], {}, "instance 1 of the list is 3; expected an env$"),
        ([lambda: Echo()], {}, "instance 0 .*functions go to envpool_wrap.from_env_fns"),
        ([Echo], {}, "instance 0 of the list is <class"),
        ([Echo()] * 2, {}, "more than once"),
        ([Echo()], {"ends_after": 2}, "ends_after=2: envs that are built already take no arguments"),
    ],
)
def test_list_that_is_not_one_of_envs_is_refused(envs: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        source_of(envs, kwargs=kwargs)


def test_an_argument_of_the_env_that_is_called_envid_is_taken_for_ours() -> None:
    def numbered(envid: int = 0) -> Any:
        return type("Numbered", (Echo,), {"number": envid})()

    assert EnvClass(numbered, "Numbered", {}).make(3, envid=7).number == 7
    with pytest.raises(TypeError, match=r"Counting\.__init__\(\) got multiple values for argument 'envid'"):
        HookClass(Counting, "Counting", {}).make(3, envid=7)
