"""Warnings name the user's line, and tracebacks are cut where the user's part begins."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
from envs import Counting

import envpool_wrap
from envpool_protocol import EnvManager, EnvPoolProtocol
from envpool_protocol.casts import warn_once
from envpool_protocol.notices import outside

pytestmark = pytest.mark.usefixtures("registry")


def near_hook(register: Any) -> Any:
    """The warning that `register` gives for an env with a misspelt optional hook."""
    cls = type("Misspelt", (Counting,), {"_truncated_envpol": lambda self: True})
    cls._truncated_envpool = EnvPoolProtocol._truncated_envpool  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="Misspelt._truncated_envpol is no hook") as caught:
        register(cls)
    return caught[0]


@pytest.mark.parametrize(
    "register",
    [EnvManager.register_env, lambda cls: EnvManager.source(cls)],
    ids=["one call deep", "several"],
)
def test_a_warning_names_a_line_of_the_packages(register: Any) -> None:
    warning = near_hook(register)
    assert warning.filename == __file__
    assert str(warning.message).endswith("so it is never called; is it meant to be _truncated_envpool?")


def test_a_method_that_is_like_a_hook_the_class_has_is_warned_of() -> None:
    cls = type("Fine", (Counting,), {"_rewards_envpool": None, "_info_envpool": lambda self: {}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EnvManager.register_env(cls)


def test_a_cast_is_told_at_the_line_that_stepped() -> None:
    with pytest.warns(UserWarning, match="no_such_leaf: an env returned dtype float64") as caught:
        warn_once("no_such_leaf", "float64", "float32")
    assert caught[0].filename == __file__


def test_a_cast_on_a_worker_of_its_own_is_told_at_a_line_of_the_packages() -> None:
    wide = type("Wide", (Counting,), {"_make_obs_envpool": lambda self: np.zeros(3, np.longdouble)})
    fns = [lambda: wide(0)] * 2
    with (
        envpool_wrap.from_env_fns(fns, "gym", backend="thread", caller_steps=False) as pool,
        pytest.warns(UserWarning, match="obs: an env returned dtype (longdouble|float128)") as caught,
    ):
        pool.reset()
    assert caught[0].filename == "sys"


def test_what_follows_the_last_frame_of_ours_is_kept() -> None:
    class Broken(Counting):
        def __init__(self, envid: int) -> None:
            int(np.str_("x"))

    def raised(call: Any) -> Any:
        try:
            call()
        except Exception:
            return sys.exc_info()[2]

    theirs = outside(raised(lambda: EnvManager.source(Broken).make(0)))
    assert theirs is not None and theirs.tb_frame.f_code.co_name == "__init__" and theirs.tb_next is None
    assert outside(raised(lambda: envpool_wrap.make("NoSuchEnv_wrap", "gym"))) is None
