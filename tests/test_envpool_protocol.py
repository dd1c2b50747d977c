"""The protocol's defaults, and that Python and C++ name the same hooks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from envs import Counting, WalkEnv
from gymnasium import spaces

from envpool_protocol import EnvPoolProtocol, resources
from envpool_protocol.envpool_protocol import OPTIONAL_HOOKS, REQUIRED_HOOKS


def test_every_hook_of_the_class_is_either_required_or_optional() -> None:
    hooks = [name for name in vars(EnvPoolProtocol) if name.endswith("_envpool")]
    assert sorted(hooks) == sorted(REQUIRED_HOOKS + OPTIONAL_HOOKS)


def test_engine_calls_the_hooks_by_the_protocols_names() -> None:
    header = (resources.include_dir() / "cpp_core" / "module_abi.h").read_text("utf-8")
    names = re.findall(r'"(_\w+)"', header.partition("kHookNames[kNumHooks]")[2])
    called = set(REQUIRED_HOOKS + OPTIONAL_HOOKS) - {"_render_envpool"}  # that one the faces call
    assert names[0] == "__init__" and set(names[1:]) == called


def test_engine_numbers_its_hook_names_in_the_order_of_its_enum() -> None:
    header = (resources.include_dir() / "cpp_core" / "module_abi.h").read_text("utf-8")
    numbered = re.findall(r"^  k(\w+)Hook,", header.partition("enum EnvpoolHook")[2], re.M)
    names = re.findall(r'"(_\w+)"', header.partition("kHookNames[kNumHooks]")[2])
    plain = [name.removesuffix("_envpool").strip("_").replace("_", "") for name in names]
    assert plain == [hook.lower() for hook in numbered if hook != "No"]


def default() -> EnvPoolProtocol:
    env = EnvPoolProtocol()
    env.observation_space = spaces.Box(-1, 1, (3,), np.float32)
    env.action_space = spaces.Discrete(1000)
    return env


@pytest.mark.parametrize("hook", REQUIRED_HOOKS)
def test_required_hook_without_an_override_raises_instead_of_doing_nothing(hook: str) -> None:
    arguments = (0,) if hook == "_step_envpool" else ()
    with pytest.raises(NotImplementedError):
        getattr(default(), hook)(*arguments)


def test_optional_hooks_default_to_never_truncated_and_no_info() -> None:
    env = default()
    assert env._truncated_envpool() is False
    assert env._info_envpool() == {}
    env._close_envpool()


def test_render_without_an_override_says_which_class_lacks_it() -> None:
    class Blind(Counting):
        _render_envpool = EnvPoolProtocol._render_envpool

    with pytest.raises(NotImplementedError, match=r"Blind does not define _render_envpool"):
        Blind(0)._render_envpool()


def test_default_seeding_reaches_envs_that_sample_from_their_spaces() -> None:
    def draws(seed: int) -> list[Any]:
        env = default()
        env._seed_envpool(seed)
        return [*env.observation_space.sample(), env.action_space.sample()]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_default_seeding_reaches_a_gymnasium_envs_generator_and_its_recorded_seed() -> None:
    env = WalkEnv(0)
    env._seed_envpool(7)
    assert env.np_random_seed == 7
    assert env.np_random.random() == np.random.default_rng(7).random()


def test_default_seeding_gives_a_plain_class_no_generator_that_it_did_not_ask_for() -> None:
    env = default()
    env._seed_envpool(7)
    assert not hasattr(env, "_np_random")
