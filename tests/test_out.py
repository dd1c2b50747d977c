"""Envs that write their observations where they belong: `_make_obs_envpool(self, out)`."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import envpool_wrap
from envpool_protocol import EnvPoolProtocol
from envpool_protocol.errors import EnvError, ProtocolError, SpecError
from envpool_protocol.sources import source_of

NESTED = spaces.Dict(
    {"t": spaces.Discrete(1000), "pair": spaces.Tuple([spaces.Box(-9, 9, (2, 2), np.float32)] * 2)}
)


class Writes(EnvPoolProtocol):
    """Writes [envid, t] and returns None. Ends after 3 + envid steps."""

    observation_space: Any = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Discrete(3)

    def __init__(self, envid: int) -> None:
        self.envid, self.t = envid, 0

    def _reset_envpool(self) -> None:
        self.t = 0

    def _step_envpool(self, action: int) -> None:
        self.t += 1

    def _make_obs_envpool(self, out: Any = None) -> Any:
        assert out.flags.writeable and out.flags.c_contiguous
        out[:] = self.envid, self.t

    def _done_envpool(self) -> bool:
        return self.t >= 3 + self.envid

    def _reward_envpool(self) -> float:
        return float(self.t)


class ReturnsOut(Writes):
    def _make_obs_envpool(self, out: Any) -> Any:
        out[:] = self.envid, self.t
        return out


class ReturnsAnother(Writes):
    def _make_obs_envpool(self, out: Any) -> Any:
        out[:] = -1
        return np.array([self.envid, self.t], np.float64)


class Returns(Writes):
    def _make_obs_envpool(self) -> Any:  # type: ignore[override]
        return np.array([self.envid, self.t], np.float64)


class WritesNested(Writes):
    observation_space = NESTED

    def _make_obs_envpool(self, out: Any) -> Any:
        out["t"][()] = self.t
        for i, half in enumerate(out["pair"]):
            half[:] = [[i, self.envid], [self.t, 0]]


class ReturnsNested(Writes):
    observation_space = NESTED

    def _make_obs_envpool(self) -> Any:  # type: ignore[override]
        halves = tuple(np.array([[i, self.envid], [self.t, 0]], np.float32) for i in range(2))
        return {"t": self.t, "pair": halves}


KEPT: list[Any] = []


class Keeps(Writes):
    """Keeps what the tests say."""

    keep: Callable[[Any], Any] = staticmethod(lambda out: None)

    def _make_obs_envpool(self, out: Any) -> Any:
        out[:] = self.envid, self.t
        KEPT.append(type(self).keep(out))


class Raises(Writes):
    def _make_obs_envpool(self, out: Any) -> Any:
        out[:] = 9
        if self.t == 2 and self.envid == 1:
            raise ValueError("no obs")


MODULES = pytest.mark.parametrize("compiled", [True, False], ids=["generated", "prebuilt"])


def make(cls: type, *, compiled: bool, num: int = 3, **config: Any) -> Any:
    functions = [lambda i=i: cls(i) for i in range(num)]
    return envpool_wrap.from_env_fns(functions, name=cls.__name__, compiled=compiled, **config)


def leaves(obs: Any) -> list[Any]:
    if isinstance(obs, dict):
        return [leaf for member in obs.values() for leaf in leaves(member)]
    return [leaf for member in obs for leaf in leaves(member)] if isinstance(obs, tuple) else [obs]


def rollout(pool: Any, steps: int = 12) -> list[Any]:
    """Copies of all that a synchronous pool with the gym face returns."""
    found = [leaves(pool.reset()[0])]
    for _ in range(steps):
        obs, reward, terminated, truncated, info = pool.step(np.zeros(3, np.int64))
        finals = leaves(info["final_obs"]) if "final_obs" in info else []
        found.append([*leaves(obs), reward, terminated, truncated, *finals])
    return [[np.array(leaf) for leaf in row] for row in found]


def assert_same(writes: type, returns: type, **config: Any) -> None:
    with make(writes, env_type="gym", **config) as one, make(returns, env_type="gym", **config) as other:
        for mine, theirs in zip(rollout(one), rollout(other), strict=True):
            for left, right in zip(mine, theirs, strict=True):
                assert left.dtype == right.dtype
                np.testing.assert_array_equal(left, right)


@MODULES
@pytest.mark.parametrize(
    ("writes", "returns"),
    [(Writes, Returns), (ReturnsOut, Returns), (ReturnsAnother, Returns), (WritesNested, ReturnsNested)],
)
def test_what_is_written_is_what_would_have_been_returned(
    writes: type, returns: type, compiled: bool
) -> None:
    assert_same(writes, returns, compiled=compiled, backend="inline", autoreset_mode="same_step")


def test_it_is_written_wherever_the_env_lives(backend: str) -> None:
    assert_same(WritesNested, ReturnsNested, compiled=False, backend=backend)


def test_rows_of_an_asynchronous_pool_are_written_too(backend: str) -> None:
    with make(Writes, compiled=False, num=4, batch_size=2, backend=backend) as pool:
        pool.async_reset()
        for _ in range(40):
            obs, _, _, _, info = pool.recv()
            assert obs[:, 0].tolist() == info["env_id"].tolist()
            assert obs[:, 1].tolist() == info["elapsed_step"].tolist()
            pool.send(np.zeros(2, np.int64), info["env_id"])


@MODULES
@pytest.mark.parametrize(
    "keep",
    [lambda out: out, lambda out: out[:1], lambda out: memoryview(out)],
    ids=["out", "view", "buffer"],
)
def test_an_env_that_keeps_out_is_told_so_and_reads_no_freed_memory(
    keep: Any, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeps, "keep", staticmethod(keep))
    pool = make(Keeps, compiled=compiled, backend="inline")
    with pytest.raises(EnvError, match="kept `out`, or a view of it") as caught:
        pool.reset()
    assert caught.value.hook == "_make_obs_envpool" and isinstance(caught.value.__cause__, SpecError)
    monkeypatch.setattr(Keeps, "keep", staticmethod(lambda out: out.copy()))
    assert pool.reset()[0].tolist() == [[0, 0], [1, 0], [2, 0]]
    pool.close()
    del pool, caught
    gc.collect()
    for kept in KEPT:  # the memory is still there, whatever is in it
        np.asarray(kept).sum()
    KEPT.clear()


def test_a_hook_that_raises_lets_go_of_out(backend: str) -> None:
    with make(Raises, compiled=False, backend=backend) as pool:
        pool.reset()
        pool.step(np.zeros(3, np.int64))
        with pytest.raises(EnvError, match="no obs") as caught:
            pool.step(np.zeros(3, np.int64))
        assert caught.value.result[0].tolist() == [[9, 9], [0, 0], [9, 9]]
        pool.step(np.zeros(3, np.int64))


def test_text_cannot_be_written_and_wrong_parameters_are_named() -> None:
    class WritesText(Writes):
        observation_space = spaces.Dict({"word": spaces.Text(4)})

    with pytest.raises(SpecError, match=r"obs\.word is text, which cannot be written into `out`"):
        source_of(WritesText).describe()

    class TakesTwo(Writes):
        def _make_obs_envpool(self, out: Any, and_this: Any) -> Any: ...

    with pytest.raises(ProtocolError, match=r"cannot be called as _make_obs_envpool\(self, out\)"):
        source_of(TakesTwo)
