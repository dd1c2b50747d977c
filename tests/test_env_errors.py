"""Exceptions of envs reach the caller as they are, with what is needed to find their cause."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from envs import STEP_HOOKS, Counting, Faulty, Gated, Journal, until_it_receives

import envpool_wrap
from envpool_protocol.errors import EnvError, NothingPendingError, PoolError, SpecError

ZEROS = np.zeros(3, int)
HOME = os.getpid()


def failing(hook: str, at: int = 1, error: Any = None) -> list[dict[str, Any]]:
    """Constructor arguments for three envs of which the second one fails."""
    return [{}, {"fail_in": hook, "fail_at": at, "error": error}, {}]


def is_same(raised: Any, error: BaseException, backend: str) -> bool:
    """The very exception, or in another process one like it."""
    if backend == "process":
        return type(raised) is type(error) and raised.args == error.args
    return raised is error


@pytest.mark.parametrize("hook", STEP_HOOKS)
def test_an_exception_in_a_step_loses_its_facts_or_other_rows(make: Any, backend: str, hook: str) -> None:
    error = ValueError("mine")
    pool = make(Faulty, num_envs=3, backend=backend, seed=7, env_kwargs=failing(hook, 2, error))
    pool.reset()
    pool.step(ZEROS)
    with pytest.raises(EnvError, match=f"env 1: {hook} raised ValueError: mine") as caught:
        pool.step(np.array([0, 2, 1]))
    raised = caught.value
    assert is_same(raised.__cause__, error, backend)
    assert isinstance(raised, PoolError)
    assert (raised.env_id, raised.hook, raised.seed, raised.elapsed_step) == (1, hook, 8, 1)
    assert raised.action == 2
    assert "raise self.error" in raised.traceback
    assert "envs.py" in raised.traceback
    assert "raise self.error" in str(raised)
    obs, reward, terminated, truncated, info = raised.result
    assert obs.tolist() == [[0, 2], [0, 0], [2, 2]]
    assert reward.tolist() == [1, 0, 1]
    assert terminated.tolist() == [False, False, False]
    assert truncated.tolist() == [False, True, False]
    assert info["env_id"].tolist() == [0, 1, 2]
    assert info["_t"].tolist() == [True, False, True]
    with pytest.raises(NothingPendingError):
        pool.recv()
    # The failed env resets on its next action, whatever that is; the others go on.
    obs, reward, _, truncated, info = pool.step(ZEROS)
    assert obs.tolist() == [[0, 3], [1, 0], [2, 3]]
    assert (reward.tolist(), truncated.tolist()) == ([1, 0, 1], [False] * 3)
    assert info["elapsed_step"].tolist() == [3, 0, 3]
    assert pool.stats()["steps"] == [3, 1, 3]


@pytest.mark.parametrize("hook", ["_seed_envpool", "_reset_envpool", "_make_obs_envpool"])
def test_an_exception_in_a_reset_loses_its_facts_or_other_rows(make: Any, backend: str, hook: str) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, env_kwargs=failing(hook, 0))
    with pytest.raises(EnvError, match=f"env 1: {hook} raised ValueError: env 1 says no") as caught:
        pool.reset()
    raised = caught.value
    assert (raised.env_id, raised.seed, raised.elapsed_step, raised.action) == (1, 43, 0, None)
    obs, info = raised.result
    assert obs.tolist() == [[0, 0], [0, 0], [2, 0]]
    assert info["env_id"].tolist() == [0, 1, 2]
    pool.set_attr("fail_in", "", env_id=1)
    assert pool.step(ZEROS)[0].tolist() == [[0, 1], [1, 0], [2, 1]]
    # Its seed was not used up by the reset that failed.
    assert pool.get_attr("seeds")[1][-1] == 43
    assert pool.get_attr("seeds")[0] == [42]


@pytest.mark.parametrize("hook", ["_done_envpool", "_truncated_envpool"])
@pytest.mark.parametrize(
    ("returns", "found"),
    [(lambda self: None, "None"), (lambda self: self._is_over, "<bound method ")],
    ids=["nothing", "a method that is not called"],
)
def test_a_flag_that_is_none_is_taken_for_one(hook: str, returns: Any, found: str) -> None:
    forgets = type("Forgets", (Counting,), {hook: returns, "_is_over": lambda self: False})
    with envpool_wrap.from_env_fns([lambda: forgets(0)], "gym", backend="inline") as pool:
        pool.reset()
        with pytest.raises(EnvError, match=f"{hook} must return a bool, found {found}") as caught:
            pool.step(pool.action_space.sample()[None])
        assert caught.value.hook == hook and isinstance(caught.value.__cause__, SpecError)


@pytest.mark.parametrize("returned", [None, "hello"])
def test_an_observation_that_is_no_number_is_told_as_a_dtype(returned: Any) -> None:
    forgets = type("Forgets", (Counting,), {"_make_obs_envpool": lambda self: returned})
    with (
        envpool_wrap.from_env_fns([lambda: forgets(0)], "gym", backend="inline") as pool,
        pytest.raises(EnvError, match=rf"obs: expected shape \(3,\), dtype float32, found {returned!r}\n"),
    ):
        pool.reset()


def test_an_exception_of_an_autoreset_is_lost(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=2, backend=backend, max_episode_steps=1)
    pool.reset()
    pool.step(ZEROS[:2])
    pool.set_attr("fail_in", "_reset_envpool", env_id=0)
    with pytest.raises(EnvError, match="env 0: _reset_envpool") as caught:
        pool.step(ZEROS[:2])
    assert len(caught.value.result) == 5
    pool.set_attr("fail_in", "", env_id=0)
    assert pool.step(ZEROS[:2])[0].tolist() == [[0, 0], [1, 1]]


def test_only_one_of_two_failures_is_told(make: Any, backend: str) -> None:
    kwargs = [{"fail_in": "_reward_envpool"}, {}, {"fail_in": "_step_envpool"}]
    pool = make(Faulty, num_envs=3, backend=backend, env_kwargs=kwargs)
    pool.reset()
    with pytest.raises(EnvError, match=r"and 1 more; see \.errors") as caught:
        pool.step(ZEROS, [2, 1, 0])
    assert [(one.env_id, one.hook) for one in caught.value.errors] == [
        (2, "_step_envpool"),
        (0, "_reward_envpool"),
    ]
    assert caught.value.env_id == 2
    assert caught.value.result[3].tolist() == [True, False, True]


@pytest.mark.parametrize("env_type", ["gym", "gymnasium", "dm"])
def test_the_result_is_not_in_the_shape_of_the_face(make: Any, env_type: str) -> None:
    pool = make(Faulty, env_type, num_envs=3, env_kwargs=failing("_step_envpool"))
    whole = pool.reset()
    with pytest.raises(EnvError) as caught:
        pool.step(ZEROS)
    result = caught.value.result
    if env_type == "dm":
        assert type(result) is type(whole)
        assert result.step_type.tolist() == [1, 2, 1]
        assert result.discount.tolist() == [1, 1, 1]  # truncated, not terminated
        assert result.observation.obs.shape == (3, 2)
    else:
        assert len(result) == 5
        assert result[0].shape == (3, 2)


def test_a_failure_shows_in_another_batch(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, env_kwargs=failing("_step_envpool"))
    pool.reset()
    for env_id in (2, 1, 0):
        pool.send(ZEROS[:1], [env_id])
    assert pool.recv()[4]["env_id"].tolist() == [2]
    with pytest.raises(EnvError, match="env 1"):
        pool.recv()
    assert pool.recv()[4]["env_id"].tolist() == [0]


def test_a_failure_in_an_asynchronous_pool_hangs_or_loses_a_row(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=3, batch_size=2, backend=backend, env_kwargs=failing("_make_obs_envpool"))
    pool.async_reset()
    while pool.stats()["in_flight"]:
        pool.recv(reset=True)
    pool.send(ZEROS)
    ids: list[int] = []
    errors: list[int] = []
    while pool.stats()["in_flight"]:
        try:
            info = pool.recv()[4]
        except EnvError as error:
            errors += [one.env_id for one in error.errors]
            info = error.result[4]
        ids += info["env_id"].tolist()
    assert (sorted(ids), errors) == ([0, 1, 2], [1])


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), StopIteration(), MemoryError(), AssertionError()]
)
def test_an_unusual_exception_gets_away(make: Any, backend: str, error: Any) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, env_kwargs=failing("_step_envpool", error=error))
    pool.reset()
    with pytest.raises(EnvError) as caught:
        pool.step(ZEROS)
    assert is_same(caught.value.__cause__, error, backend)


class BadText(Exception):
    def __str__(self) -> str:
        return str(self.args[5])


class BadRepr:
    def __repr__(self) -> str:
        raise ValueError("not for you")


class Rooted(Exception):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise TypeError("rooted here")


class Unreadable(Exception):
    """Can be pickled but not made again: a common mistake."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Homebody(Exception):
    """Can be made again in every process but `home`."""

    def __reduce__(self) -> Any:
        return _remake, self.args


def _remake(home: int) -> Homebody:
    if os.getpid() == home:
        raise ImportError("no module named 'only_the_worker_has_it'")
    return Homebody(home)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BadText("why"), r"BadText: \('why',\)"),
        (BadText(BadRepr()), "BadText: "),
    ],
)
def test_an_exception_without_a_text_hides_the_batch(
    make: Any, backend: str, error: Any, message: str
) -> None:
    pool = make(Faulty, num_envs=3, backend=backend, env_kwargs=failing("_step_envpool", error=error))
    pool.reset()
    with pytest.raises(EnvError, match=f"_step_envpool raised {message}") as caught:
        pool.step(ZEROS)
    assert caught.value.result[0][2].tolist() == [2, 1]
    assert isinstance(caught.value.__cause__, BadText)


@pytest.mark.parametrize(
    ("make_error", "name", "said"),
    [
        (lambda: Rooted("stay"), "Rooted", "stay"),
        (lambda: Unreadable(3, 4), "Unreadable", "3 and 4"),
        (lambda: Homebody(HOME), "Homebody", str(HOME)),
    ],
    ids=["Rooted", "Unreadable", "Homebody"],
)
def test_an_exception_that_cannot_travel_is_lost(make: Any, make_error: Any, name: str, said: str) -> None:
    pool = make(Faulty, num_envs=3, backend="process", num_threads=3)
    pool.reset()

    def fail(action: Any) -> None:
        raise make_error()

    pool.set_attr("_step_envpool", fail, env_id=1)
    with pytest.raises(EnvError, match=f"env 1: _step_envpool raised RuntimeError: {name}: {said}") as caught:
        pool.step(ZEROS)
    raised = caught.value
    assert isinstance(raised.__cause__, RuntimeError)
    assert f"{name}: {said}" in raised.traceback
    assert "raise make_error()" in raised.traceback
    assert (raised.hook, raised.elapsed_step, raised.action) == ("_step_envpool", 0, 0)
    assert raised.result[0].tolist() == [[0, 1], [0, 0], [2, 1]]
    pool.call("__delattr__", "_step_envpool", env_id=1)
    assert pool.step(ZEROS)[0].tolist() == [[0, 2], [1, 0], [2, 2]]


@pytest.mark.parametrize(
    ("tell", "said"),
    [
        (lambda: {"b": 1, "a": Rooted()}, r"\['a'\] = .* cannot be sent to another process: rooted here"),
        (lambda: {"a": Homebody(HOME)}, "only_the_worker_has_it"),
    ],
)
def test_an_info_that_cannot_travel_takes_the_batch_with_it(make: Any, tell: Any, said: str) -> None:
    pool = make(Faulty, num_envs=3, backend="process", num_threads=3)
    pool.reset()
    pool.set_attr("_info_envpool", tell, env_id=1)
    for _ in range(40):  # more than there are batches
        with pytest.raises(EnvError, match=f"env 1: _info_envpool raised .*{said}") as caught:
            pool.step(ZEROS)
        assert caught.value.result[0][1].tolist() == [0, 0]
        assert caught.value.result[3][1]
        pool.reset([1])
    pool.call("__delattr__", "_info_envpool", env_id=1)
    assert pool.step(ZEROS)[0][1].tolist() == [1, 1]


def test_the_action_that_the_env_spoilt_hides_the_failure(make: Any) -> None:
    from envs import Nested

    pool = make(Nested, num_envs=2, backend="process", num_threads=2)
    pool.reset()

    def fail(action: Any) -> None:
        action["mine"] = Rooted()
        raise ValueError("spoilt")

    pool.set_attr("_step_envpool", fail, env_id=1)
    with pytest.raises(EnvError, match="env 1: _step_envpool raised ValueError: spoilt") as caught:
        pool.step(pool.reset()[0])
    assert "'mine': Rooted" in caught.value.action


def test_the_chain_of_causes_is_cut(make: Any, backend: str) -> None:
    pool = make(Faulty, backend=backend)
    pool.reset()

    def fail(action: Any) -> None:
        try:
            raise KeyError("deep")
        except KeyError as error:
            raise ValueError("shallow") from error

    pool.set_attr("_step_envpool", fail)
    with pytest.raises(EnvError) as caught:
        pool.step(ZEROS[:1])
    if backend != "process":
        assert isinstance(caught.value.__cause__.__cause__, KeyError)
    assert 'raise KeyError("deep")' in caught.value.traceback
    assert "KeyError: 'deep'" in caught.value.traceback


def test_the_action_of_a_failure_changes_later(make: Any, backend: str) -> None:
    pool = make(Counting, backend=backend)
    pool.reset()
    pool.set_attr("_done_envpool", lambda: 1 / 0)
    with pytest.raises(EnvError) as caught:
        pool.step(np.array([[0.25]], np.float32))
    pool.call("__delattr__", "_done_envpool")
    pool.step(np.array([[0.5]], np.float32))
    pool.step(np.array([[0.5]], np.float32))
    assert caught.value.action.tolist() == [0.25]


def test_a_constructor_that_raises_leaves_envs_open(task_id: Any, backend: str, journal: Journal) -> None:
    name = task_id(Faulty)
    kwargs = [{"closes": journal, **one} for one in failing("__init__")]
    for env_type in ("gym", "gymnasium", "dm"):
        with pytest.raises(EnvError, match="env 1: __init__ raised ValueError: env 1 says no") as caught:
            envpool_wrap.make(name, env_type, num_envs=3, backend=backend, env_kwargs=kwargs)
        assert (caught.value.hook, caught.value.result) == ("__init__", None)
        assert "self._maybe_fail" in caught.value.traceback
    assert sorted(journal.ids) == [0, 0, 0, 2, 2, 2]


def test_constructors_that_raise_are_not_all_told(task_id: Any, backend: str) -> None:
    with pytest.raises(EnvError) as caught:
        envpool_wrap.make(
            task_id(Faulty), "gym", num_envs=3, backend=backend, env_kwargs=lambda i: {"fail": 1 // (i - i)}
        )
    assert [one.env_id for one in caught.value.errors] == [0, 1, 2]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_close_that_raises_stops_the_others_or_is_lost(
    task_id: Any, backend: str, journal: Journal
) -> None:
    kwargs = [{"closes": journal, **one} for one in failing("_close_envpool", 0, ValueError("stuck"))]
    pool = envpool_wrap.make(task_id(Faulty), "gym", num_envs=3, backend=backend, env_kwargs=kwargs)
    pool.reset()
    with pytest.raises(EnvError, match="env 1: _close_envpool raised ValueError: stuck") as caught:
        pool.close()
    assert "raise self.error" in caught.value.traceback
    assert sorted(journal.ids) == [0, 1, 2]
    pool.close()


def test_a_failure_that_nobody_received_is_raised_by_close(task_id: Any, backend: str) -> None:
    kwargs = {"fail_in": "_reward_envpool"}
    pool = envpool_wrap.make(task_id(Faulty), "gym", num_envs=2, backend=backend, env_kwargs=kwargs)
    pool.reset()
    pool.send(ZEROS[:2])
    pool.close()


# Ctrl-C


@pytest.mark.parametrize("backend", ["inline", "process"])  # env 0 is the caller's; with threads by chance
def test_an_interrupt_in_the_callers_own_env_is_wrapped_or_loses_the_batch(make: Any, backend: str) -> None:
    error = KeyboardInterrupt()
    kwargs = [{"fail_in": "_step_envpool", "error": error}, {}, {}]
    pool = make(Faulty, num_envs=3, backend=backend, env_kwargs=kwargs)
    pool.reset()
    with pytest.raises(KeyboardInterrupt) as caught:
        pool.step(ZEROS)
    assert caught.value is error
    assert pool.stats()["in_flight"] == 3
    obs, _, _, truncated, info = pool.recv()
    assert obs.tolist() == [[0, 0], [1, 1], [2, 1]]
    assert truncated.tolist() == [True, False, False]
    assert info["env_id"].tolist() == [0, 1, 2]
    assert pool.step(ZEROS)[0].tolist() == [[0, 0], [1, 2], [2, 2]]


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_ctrl_c_in_the_callers_own_env_is_wrapped(make: Any, backend: str) -> None:
    pool = make(Counting, num_envs=2, backend=backend)
    pool.reset()
    pool.set_attr("_step_envpool", lambda action: signal.raise_signal(signal.SIGINT), env_id=0)
    with pytest.raises(KeyboardInterrupt):
        pool.step(np.zeros((2, 1), np.float32))
    assert pool.recv()[0].tolist() == [[0, 0, 0], [1, 1, 0]]


def test_an_interrupt_while_closing_is_swallowed(task_id: Any, journal: Journal) -> None:
    kwargs = [
        {"closes": journal, "fail_in": "_close_envpool", "fail_at": 0, "error": KeyboardInterrupt()},
        {},
    ]
    kwargs[1] = {"closes": journal}
    pool = envpool_wrap.make(task_id(Faulty), "gym", num_envs=2, backend="inline", env_kwargs=kwargs)
    with pytest.raises(KeyboardInterrupt):
        pool.close()
    assert journal.ids == [0, 1]
    pool.close()


def test_an_interrupt_while_building_leaves_envs_open(task_id: Any, journal: Journal) -> None:
    kwargs = [{"closes": journal, **one} for one in failing("__init__", error=KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        envpool_wrap.make(task_id(Faulty), "gym", num_envs=3, backend="inline", env_kwargs=kwargs)
    assert journal.ids == [0]


def test_ctrl_c_waits_for_a_slow_env_or_loses_the_batch(make: Any, apart: Any) -> None:
    pool = make(Gated, num_envs=2, **apart)
    pool.reset()
    Gated.shut(0)
    pool.send(np.zeros(2, int))
    sent: list[float] = []

    def interrupt() -> None:
        until_it_receives(threading.main_thread())
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        helper.start()
        pool.recv()
    late = time.monotonic() - sent[0]
    helper.join()
    assert late < 2  # 0.2 is promised, on a machine that is not busy
    Gated.open(0)
    assert pool.recv()[0].tolist() == [[0, 1], [1, 1]]


def test_an_interrupt_in_an_env_on_a_worker_is_lost(make: Any, apart: Any) -> None:
    error = KeyboardInterrupt()
    pool = make(Faulty, num_envs=3, env_kwargs=failing("_step_envpool", error=error), **apart)
    pool.reset()
    with pytest.raises(EnvError) as caught:
        pool.step(ZEROS)
    assert is_same(caught.value.__cause__, error, apart["backend"])
