"""`call`, `get_attr`, `set_attr` and `render`: they run on the env's own worker, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from typing import Any

import gymnasium
import numpy as np
import pytest
from envs import Counting, Faulty, Gated, idle_actions
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from plain_envs import DMEcho, Echo, OldEcho

from envpool_protocol.errors import ActionError, PendingCallError, PoolClosedError, ProtocolError


class Homebody:
    """Can be pickled, but made again only in a process other than `home`."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> Any:
        return _remake, (self.home,)


def _remake(home: int) -> Homebody:
    if os.getpid() == home:
        raise ImportError("no module named 'only_the_worker_has_it'")
    return Homebody(home)


def test_frames_are_those_of_other_envs(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    frames = pool.render()
    assert (frames.shape, frames.dtype) == ((3, 2, 3, 3), np.uint8)
    assert frames[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert pool.render(env_id=[2]).shape == (1, 2, 3, 3)
    with pytest.raises(NotImplementedError, match="Faulty does not define _render_envpool"):
        make(Faulty, num_envs=2, backend=backend).render()


def test_call_get_and_set_reach_another_env(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    pool.set_attr("mark", [1, 2])
    pool.set_attr("mark", "x", env_id=1)
    assert pool.get_attr("mark") == [[1, 2], "x", [1, 2]]
    assert pool.get_attr("envid", env_id=[2, 0]) == [2, 0]
    assert pool.call("_done_envpool", env_id=2) == [False]
    assert pool.call("__getattribute__", "envid") == [0, 1, 2]


def test_a_call_runs_elsewhere_than_its_env_steps(make: Any) -> None:
    pool = make(Counting, num_envs=4, backend="process", num_threads=3, caller_steps=False)
    pool.set_attr("pid", os.getpid)
    pids = pool.call("pid")
    assert len({*pids, os.getpid()}) == 4
    pool.set_attr("_reward_envpool", os.getpid)
    pool.reset()
    assert pool.step(idle_actions(Counting, 4))[1].tolist() == np.float32(pids).tolist()


def test_what_a_call_raises_is_hidden(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    with pytest.raises(AttributeError, match="nothing") as caught:
        pool.get_attr("nothing", env_id=[0, 2])
    assert caught.value.__notes__[0] == "in env 0"
    pool.set_attr("fail", _fail, env_id=2)
    with pytest.raises(KeyError) as raised:
        pool.call("fail", 7, env_id=[2])
    assert raised.value.args == (7,)
    notes = raised.value.__notes__
    assert notes[0] == "in env 2"
    if backend == "process":  # its frames are in another process
        assert "raise KeyError(number)" in notes[1]
    assert pool.get_attr("envid") == [0, 1, 2]


def test_one_env_that_raises_loses_the_call_of_the_others(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    pool.set_attr("called", None, env_id=1)
    with pytest.raises(AttributeError, match="NoneType"):
        pool.call("_reset_envpool")
    assert pool.get_attr("called") == [["reset"], None, ["reset"]]


@pytest.mark.parametrize("env_id", [3, -1, [0, 3], 0.5, True, "a", [], [[0, 1]], [0, [1, 2]]])
def test_a_bad_env_id_reaches_an_env(make: Any, env_id: Any) -> None:
    pool = make(Counting, num_envs=3)
    for use in (
        lambda: pool.get_attr("t", env_id),
        lambda: pool.set_attr("t", 5, env_id),
        lambda: pool.call("_reset_envpool", env_id=env_id),
        lambda: pool.render(env_id),
        lambda: pool.reset(env_id),
        lambda: pool.reset(env_id, seed=3),
        lambda: pool.send(np.zeros((1, 1), np.float32), env_id),
    ):
        with pytest.raises(ActionError, match="env_id"):
            use()
    assert pool.get_attr("called") == [[], [], []]


def test_an_env_that_is_in_flight_is_touched(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=3, backend=backend)
    pool.reset()
    pool.send(idle_actions(Counting, 1), [1])
    assert pool.get_attr("t", env_id=[0, 2]) == [0, 0]
    for use in (lambda: pool.get_attr("t"), lambda: pool.set_attr("t", 9), lambda: pool.render([0, 1])):
        with pytest.raises(PendingCallError, match="env 1 is in flight"):
            use()
    pool.recv()
    assert pool.get_attr("t") == [0, 1, 0]


def test_a_call_waits_for_envs_that_it_does_not_ask(make: Any, apart: Any) -> None:
    pool = make(Gated, num_envs=2, **apart)
    pool.reset()
    Gated.shut(0)
    pool.send(np.zeros(1, int), [0])
    Gated.await_entered(0)
    assert pool.get_attr("envid", env_id=1) == [1]
    Gated.open(0)
    assert pool.recv()[0].tolist() == [[0, 1]]


def test_a_closed_pool_is_called(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    pool.close()
    for use in (lambda: pool.call("x"), lambda: pool.get_attr("x"), lambda: pool.set_attr("x", 1)):
        with pytest.raises(PoolClosedError):
            use()


def test_a_call_is_refused_because_many_batches_are_in_flight(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envpool_wrap.core.RING_BYTES", 0)
    pool = make(Counting, num_envs=18)
    held = pool.reset()  # one more block
    sent = 0
    with pytest.raises(PendingCallError, match="batches are in flight, and that is the limit"):
        while True:
            pool.send(idle_actions(Counting, 1), [sent])
            sent += 1
    assert sent >= 16
    assert pool.get_attr("envid", env_id=17) == [17]
    for env_id in range(sent):
        assert pool.recv()[4]["env_id"].tolist() == [env_id]
    assert held[0][:, 1].tolist() == [0] * 18


# What cannot cross to another process


class Rooted:
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("rooted here")


def test_a_value_that_cannot_be_sent_turns_up_in_the_next_reset(make: Any) -> None:
    pool = make(Faulty, num_envs=4, backend="process", num_threads=2)
    value = Rooted()
    with pytest.raises(TypeError, match="cannot be sent to another process: rooted here"):
        pool.set_attr("mark", value)
    gone = weakref.ref(value)
    del value
    assert gone() is None, "it waits for the env's next request"
    pool.reset()
    assert pool.get_attr("options") == [{}] * 4
    assert pool.get_attr("t") == [0] * 4


def test_options_that_cannot_be_sent_turn_up_in_the_next_reset(make: Any) -> None:
    pool = make(Faulty, num_envs=4, backend="process", num_threads=2, seed=7)
    pool.reset()
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        pool.reset(options={"level": Rooted()}, seed=100)
    pool.reset()
    assert pool.get_attr("options") == [{}] * 4
    assert pool.get_attr("seeds") == [[7], [8], [9], [10]]


def test_a_result_that_cannot_be_sent_ends_the_worker(make: Any) -> None:
    pool = make(Faulty, num_envs=4, backend="process", num_threads=2)
    pool.set_attr("mark", 5)
    pool.set_attr("make_lock", threading.Lock, env_id=3)
    with pytest.raises(TypeError, match="cannot be sent to another process") as caught:
        pool.call("make_lock", env_id=3)
    assert caught.value.__notes__[0] == "in env 3"
    assert pool.get_attr("mark") == [5] * 4


def test_a_result_that_cannot_be_read_is_left_for_the_next_batch(make: Any) -> None:
    pool = make(Faulty, num_envs=4, backend="process", num_threads=3, caller_steps=False)
    pool.reset()
    pool.set_attr("make", _Maker(os.getpid()))
    with pytest.raises(ImportError, match="only_the_worker_has_it"):
        pool.call("make")
    pool.step(np.zeros(1, int), [0])
    info = pool.step(np.zeros(4, int))[4]
    assert info["_t"].tolist() == [True, False, False, False]
    assert pool.get_attr("envid") == [0, 1, 2, 3]


def test_an_interrupted_call_is_taken_for_an_info(make: Any, apart: Any) -> None:
    pool = make(Faulty, num_envs=2, **apart)
    gated = make(Gated, num_envs=1)  # for its gate
    pool.reset()
    pool.step(np.zeros(1, int), [1])
    Gated.shut(0)
    step = gated.get_attr("_step_envpool")[0]
    pool.set_attr("wait", step)
    interrupt = threading.Thread(target=lambda: (Gated.await_entered(0), os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        interrupt.start()
        pool.call("wait", 0)
    interrupt.join()
    Gated.open(0)
    info = pool.step(np.zeros(2, int))[4]
    assert info["_t"].tolist() == [False, True]
    assert pool.get_attr("envid") == [0, 1]


class _Maker:
    def __init__(self, home: int) -> None:
        self.home = home

    def __call__(self) -> Homebody:
        return Homebody(self.home)


def _fail(number: int) -> None:
    raise KeyError(number)


# Envs without hooks, behind wrappers


class Doubled(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Has an attribute of its own, and hides one of the env's."""

    own = 1
    closed = "hidden"


def wrapped(envid: int) -> Any:
    return Doubled(TimeLimit(Echo(ends_after=5 + envid), 9))


def test_attributes_are_those_of_the_wrapper_that_has_them(backend: str, pool_of: Any) -> None:
    pool = pool_of(wrapped, backend=backend, num_envs=2)
    assert pool.get_attr("ends_after") == [5, 6] and pool.get_attr("closed") == ["hidden"] * 2
    assert pool.get_attr("unwrapped.closed") == [0, 0] and pool.get_attr("_max_episode_steps") == [9, 9]
    pool.set_attr("ends_after", 1, env_id=1)
    assert pool.get_attr("unwrapped.ends_after") == [5, 1]
    pool.reset()
    assert pool.call("obs", env_id=0)[0].keys() == {"t", "echo"}
    with pytest.raises(AttributeError, match="no_such"):
        pool.get_attr("no_such")


def test_wrappers_are_found_all_the_way_down(backend: str, pool_of: Any) -> None:
    pool = pool_of(wrapped, backend=backend, num_envs=2)
    assert pool.env_is_wrapped(Doubled) == [True, True] == pool.env_is_wrapped(TimeLimit)
    assert pool.env_is_wrapped(OrderEnforcing, env_id=[1]) == [False]


def test_gymnasium_face_calls_and_reads_through_wrappers(pool_of: Any) -> None:
    pool = pool_of("CartPole-v1", env_type="gymnasium", num_envs=2)
    assert pool.call("gravity") == (9.8, 9.8) == pool.get_attr("gravity")
    pool.set_attr("gravity", [1.0, 2.0])
    assert pool.get_attr("unwrapped.gravity") == (1.0, 2.0)
    assert pool.env_is_wrapped(TimeLimit) == [True, True] and pool.env_is_wrapped(Doubled) == [False, False]


class Inner:
    """Of old gym's wrappers: reads go through, writes do not."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.env, name)


def old_wrapped(envid: int) -> Any:
    return Inner(Inner(OldEcho()))


def test_old_wrappers_do_not_swallow_what_is_set(pool_of: Any) -> None:
    pool = pool_of(old_wrapped, num_envs=1)
    pool.set_attr("ends_after", 1)
    assert pool.get_attr("env.env.ends_after") == [1]
    pool.set_attr("mark", 2)
    assert pool.call("__getattribute__", "__dict__")[0]["mark"] == 2
    assert pool.env_is_wrapped(Inner) == [True]


def test_frames_come_from_render(backend: str, pool_of: Any) -> None:
    pool = pool_of(Echo, backend=backend, num_envs=2, render_mode="rgb_array")
    pool.reset()
    assert pool.render().shape == (2, 2, 3, 3) and pool.get_attr("render_mode") == ["rgb_array"] * 2
    without = pool_of(Echo, backend=backend, num_envs=2)
    without.reset()
    with pytest.raises(ProtocolError, match="has no render_mode; make the pool with render_mode='rgb_array'"):
        without.render()


class OldShown(OldEcho):
    def render(self, mode: str = "human") -> Any:
        return np.full((2, 3, 3), 5, np.uint8) if mode == "rgb_array" else None


def test_old_envs_are_asked_for_arrays(pool_of: Any) -> None:
    assert pool_of(OldShown, num_envs=1).render().tolist() == np.full((1, 2, 3, 3), 5).tolist()


class Shown(DMEcho):
    class physics:
        @staticmethod
        def render() -> Any:
            return np.full((2, 3, 3), 7, np.uint8)


def test_frames_of_dm_control_come_from_its_physics(pool_of: Any) -> None:
    assert pool_of(Shown, num_envs=2).render()[1, 0, 0, 0] == 7
    with pytest.raises(AttributeError, match="physics"):
        pool_of(DMEcho, num_envs=1).render()
