"""The prebuilt module: made once, and used where nothing can be compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_hand import batch, leaves, row, sampled
from envs import Counting, Faulty, Nested
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_envs import Echo

import envpool_wrap
from envpool_protocol import EnvManager, _core
from envpool_protocol.errors import BuildError, EnvError, SpecError
from envpool_protocol.prebuilt import prebuilt_module
from envpool_protocol.sources import source_of
from envpool_wrap import modules


def test_module_is_made_once_per_description() -> None:
    one, two = (source_of(cls).describe() for cls in (Counting, Nested))
    assert prebuilt_module(one) is prebuilt_module(source_of(Counting).describe())
    assert prebuilt_module(one) is not prebuilt_module(two)
    assert modules.load(modules.reference_to(prebuilt_module(one))) is prebuilt_module(one)


def test_unknown_api_is_refused_by_the_engine() -> None:
    facts = source_of(Counting).describe().spec.describe()
    with pytest.raises(SpecError, match="no env has the api smoke"):
        _core.prebuilt(facts | {"api": "smoke", "obs_is_pair": False}, {"float32": 10})


def test_hooks_run_on_it_too(backend: str, pool_of: Any) -> None:
    pool = pool_of(Counting, "prebuilt", backend=backend, num_envs=2)
    pool.reset()
    obs, reward, terminated, *_ = pool.step(np.array([[0.5], [0.25]], np.float32))
    assert obs.tolist() == [[0, 1, 0.5], [1, 1, 0.25]] and reward.dtype == np.float32
    assert (reward.tolist(), terminated.tolist()) == ([10, 11], [False, False])


def test_optional_hooks_are_called_where_the_class_has_them(pool_of: Any) -> None:
    pool = pool_of(Faulty, "prebuilt", num_envs=1)
    results = [pool.reset(), *(pool.step(np.zeros(1, np.int64)) for _ in range(5))]
    assert [result[-1].get("t") is not None for result in results] == [False, False, True, False, True, False]
    assert results[-1][3].tolist() == [True]


def test_nested_values_go_out_and_come_back(module_kind: str, backend: str, pool_of: Any) -> None:
    space = Nested(0).action_space
    actions = sampled(space, 2, 5)
    pool = pool_of(Nested, module_kind, backend=backend, num_envs=2)
    pool.reset()
    for at in range(5):
        obs = pool.step(batch([each[at] for each in actions]))[0]
        for env in range(2):
            for found, sent in zip(leaves(row(obs, env)), leaves(actions[env][at]), strict=True):
                assert np.array_equal(found, sent)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_wrong_nesting_is_the_same_error_on_both_modules(data: Any) -> None:
    """The walk over the tree and the generated lines must agree, also about what they refuse."""
    good = Nested(0).first
    wrong = {
        **good,
        data.draw(st.sampled_from([*good, "more"])): data.draw(st.sampled_from([None, (), {}, 3, {"x": 1}])),
    }
    told = []
    task = envpool_wrap.register(Nested)
    description = source_of(Nested).describe()
    for module in (envpool_wrap.registry.find(task).module, prebuilt_module(description)):
        config = envpool_wrap.config.PoolConfig.of({"backend": "inline"})
        with envpool_wrap.registry.face_of("gym")(source_of(Nested), description, module, config) as pool:
            pool.set_attr("answer", wrong)
            with pytest.raises(EnvError) as caught:
                pool.reset()
            told.append(str(caught.value.__cause__))
    assert told[0] == told[1]


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("registry", "no_compiler")
def test_registered_env_runs_without_a_compiler_and_says_so() -> None:
    EnvManager.register_env(Echo, "WithoutCompiler")
    with (
        pytest.warns(UserWarning, match="WithoutCompiler_wrap runs on the prebuilt module: no C"),
        envpool_wrap.make("WithoutCompiler_wrap", "gym", num_envs=2, backend="process") as pool,
    ):
        assert "prebuilt module" in repr(pool)
        assert pool.reset()[0]["t"].tolist() == [0, 0]
    assert envpool_wrap.list_all_envs() == []
    with pytest.raises(BuildError, match=r"no C\+\+ compiler found"):
        envpool_wrap.register(Echo, "WithoutCompiler")
