"""A pool ends: every env is closed once, no exit hangs or crashes, and a hung env holds nobody up."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from envs import Counting, Faulty, Gated, Journal, idle_actions
from faulty_envs import until

import envpool_wrap
from envpool_protocol.errors import EnvError, PoolClosedError, PoolTimeout

TESTS = Path(__file__).parent


@pytest.fixture
def kwargs(journal: Journal) -> dict[str, Any]:
    """Constructor arguments of Counting envs that write down when they are closed."""
    return {"closes": journal}


@pytest.fixture
def name(task_id: Any) -> str:
    found: str = task_id(Counting)
    return found


def test_close_misses_an_env_or_closes_one_twice(
    name: str, backend: str, journal: Journal, kwargs: Any
) -> None:
    pool = envpool_wrap.make(name, "gym", num_envs=5, backend=backend, env_kwargs=kwargs)
    pool.step(idle_actions(Counting, 2), [0, 3])
    pool.send(idle_actions(Counting, 2), [1, 2])
    for _ in range(3):
        pool.close()
    assert sorted(journal.ids) == [0, 1, 2, 3, 4]


def test_other_threads_stand_still_while_envs_are_built_or_closed(
    name: str, apart: Any, tmp_path: Path
) -> None:
    """Each env asks, and another thread of the caller's interpreter has to answer."""

    class Question:
        def __init__(self, what: str) -> None:
            self.asked, self.answered = tmp_path / f"{what} asked", tmp_path / f"{what} answered"

        def add(self, env_id: int) -> None:
            self.asked.touch()
            deadline = time.monotonic() + 4
            while not self.answered.exists():
                assert time.monotonic() < deadline, "nobody answers"
                time.sleep(0.005)

    built, closed = Question("built"), Question("closed")

    def answer() -> None:
        for question in (built, closed):
            while not question.asked.exists():
                time.sleep(0.005)
            question.answered.touch()

    def arguments(env_id: int) -> dict[str, Any]:
        built.add(env_id)
        return {"closes": closed}

    threading.Thread(target=answer, daemon=True).start()
    envpool_wrap.make(name, "gym", num_envs=2, env_kwargs=arguments, **apart).close()


def test_leaving_the_with_block_leaves_the_pool_open(
    name: str, backend: str, journal: Journal, kwargs: Any
) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        envpool_wrap.make(name, "gym", num_envs=2, backend=backend, env_kwargs=kwargs) as pool,
    ):
        pool.reset()
        raise ZeroDivisionError
    assert sorted(journal.ids) == [0, 1]
    with pytest.raises(PoolClosedError):
        pool.reset()


@pytest.mark.parametrize("env_type", ["gym", "gymnasium", "dm"])
def test_a_pool_that_nobody_closes_stays(
    name: str, backend: str, env_type: str, journal: Journal, kwargs: Any
) -> None:
    pool = envpool_wrap.make(name, env_type, num_envs=2, backend=backend, env_kwargs=kwargs)
    pool.reset()
    pool.send(idle_actions(Counting, 2))
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert sorted(journal.ids) == [0, 1]
    assert psutil.Process().children() == []


@pytest.mark.parametrize("backend", ["inline", "thread"])
def test_envs_outlive_their_pool(name: str, backend: str) -> None:
    pool = envpool_wrap.make(name, "gym", num_envs=2, backend=backend)
    pool.step(np.zeros((2, 1), np.float32))
    envs = []
    for env_id in range(2):
        [reset] = pool.get_attr("_reset_envpool", env_id)
        envs.append(weakref.ref(reset.__self__))
        del reset
    assert all(env() is not None for env in envs)
    pool.close()
    assert all(env() is None for env in envs)


@pytest.mark.parametrize("caller_steps", [True, False])
def test_worker_threads_outlive_their_pool(name: str, caller_steps: bool) -> None:
    def workers() -> int:
        count = 0
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                count += task.joinpath("comm").read_text().startswith("envpool-")
        return count

    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc here")
    before = workers()
    pool = envpool_wrap.make(
        name, "gym", num_envs=3, num_threads=3, backend="thread", caller_steps=caller_steps
    )
    assert until(lambda: workers() == before + 3 - caller_steps)  # each gives itself its name
    pool.close()
    assert until(lambda: workers() == before)  # one that was joined may be seen for a moment


@pytest.mark.parametrize("caller_steps", [True, False])
def test_worker_processes_outlive_their_pool(name: str, caller_steps: bool) -> None:
    me = psutil.Process()
    descriptors = me.num_fds()
    pool = envpool_wrap.make(
        name, "gym", num_envs=3, num_threads=3, backend="process", caller_steps=caller_steps
    )
    children = me.children()
    assert len(children) == 3 - caller_steps
    assert all(os.getpgid(child.pid) == child.pid for child in children)
    pool.reset()
    pool.close()
    assert not any(child.is_running() for child in children)
    del pool
    gc.collect()
    assert me.num_fds() == descriptors


def test_a_pool_that_could_not_be_built_leaves_processes(task_id: Any) -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(EnvError, match="env 2: __init__"):
        envpool_wrap.make(
            task_id(Faulty),
            "gym",
            num_envs=3,
            backend="process",
            env_kwargs=[{}, {}, {"fail_in": "__init__"}],
        )
    gc.collect()
    assert psutil.Process().children() == []
    assert psutil.Process().num_fds() == before


def test_closing_waits_for_ever_on_a_hung_env(make: Any, apart: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 0.1)
    pool = make(Gated, num_envs=2, **apart)
    obs, _ = pool.reset()
    Gated.shut(1)
    pool.send(np.zeros(2, int))
    Gated.await_entered(1)
    start = time.monotonic()
    if apart["backend"] == "thread":
        with pytest.raises(PoolTimeout, match=r"did not return within 0\.1 s of close"):
            pool.close()
    else:  # its process is killed
        pool.close()
        assert psutil.Process().children() == []
    assert time.monotonic() - start < 2
    with pytest.raises(PoolClosedError):
        pool.recv()
    pool.close()
    assert obs.tolist() == [[0, 0], [1, 0]]
    Gated.open(1)  # the thread that was left behind goes on with memory that is still there


def test_a_hung_env_keeps_the_others_from_being_closed(
    make: Any, name: str, journal: Journal, kwargs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = make(Gated)  # for its gate
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 1.0)
    pool = make(Counting, num_envs=4, backend="process", num_threads=4, caller_steps=False, env_kwargs=kwargs)
    pool.reset()
    Gated.shut(0)
    pool.set_attr("_step_envpool", gate.get_attr("_step_envpool")[0], env_id=2)
    pool.send(idle_actions(Counting, 4))
    Gated.await_entered(0)
    pool.close()
    assert sorted(journal.ids) == [0, 1, 3]
    assert psutil.Process().children() == []


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("caller_steps", [False, True])
@pytest.mark.parametrize("hook", ["_step_envpool", "_close_envpool"])
def test_a_hung_thread_keeps_the_others_from_being_closed(
    make: Any,
    name: str,
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    num_threads: int,
    caller_steps: bool,
) -> None:
    gate = make(Gated)  # for its gate
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 1.0)
    threads = num_threads + caller_steps
    pool = envpool_wrap.make(
        name,
        "gym",
        num_envs=4,
        backend="thread",
        num_threads=threads,
        caller_steps=caller_steps,
        env_kwargs={"closes": journal},
    )
    pool.reset()
    Gated.shut(0)
    step = gate.get_attr("_step_envpool")[0]
    pool.set_attr(hook, step if hook == "_step_envpool" else _Bound(step, 0), env_id=2)
    if hook == "_step_envpool":
        pool.send(idle_actions(Counting, 4))
        Gated.await_entered(0)
    start = time.monotonic()
    with pytest.raises(PoolTimeout, match="its thread was left behind"):
        pool.close()
    assert time.monotonic() - start < 1 + 2
    assert sorted(journal.ids) == [0, 1, 3]
    pool.close()
    Gated.open(0)


def test_closing_gives_up_on_a_thread_that_comes_back_in_time(
    make: Any, name: str, journal: Journal, kwargs: Any
) -> None:
    gate = make(Gated)
    pool = make(Counting, num_envs=3, backend="thread", num_threads=1, caller_steps=False, env_kwargs=kwargs)
    pool.reset()
    Gated.shut(0)
    pool.set_attr("_step_envpool", gate.get_attr("_step_envpool")[0], env_id=1)
    pool.send(idle_actions(Counting, 3))
    Gated.await_entered(0)
    others = threading.Thread(target=lambda: until(lambda: sorted(journal.ids) == [0, 2]) and Gated.open(0))
    others.start()
    pool.close()
    others.join()
    assert sorted(journal.ids) == [0, 1, 2]


def test_closing_waits_for_ever_on_a_hung_close(
    make: Any, monkeypatch: pytest.MonkeyPatch, apart: Any
) -> None:
    gate = make(Gated)  # for its gate
    monkeypatch.setattr("envpool_wrap.core.CLOSE_DEADLINE", 0.1)
    pool = make(Counting, num_envs=2, **apart)
    Gated.shut(0)
    step = gate.get_attr("_step_envpool")[0]
    pool.set_attr("_close_envpool", _Bound(step, 0))
    if apart["backend"] == "thread":
        with pytest.raises(PoolTimeout):
            pool.close()
    else:
        pool.close()
        assert psutil.Process().children() == []


class _Bound:
    """`functools.partial`, which as an attribute of an env is called as it is."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __call__(self) -> Any:
        return self.function(*self.args)


def test_many_pools_come_and_go_at_once(name: str, backend: str, journal: Journal, kwargs: Any) -> None:
    faults: list[BaseException] = []
    times = 3 if backend == "process" else 20

    def live() -> None:
        try:
            for _ in range(times):
                with envpool_wrap.make(name, "gym", num_envs=3, backend=backend, env_kwargs=kwargs) as pool:
                    pool.reset()
                    assert pool.step(idle_actions(Counting, 3))[0][:, 1].tolist() == [1, 1, 1]
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=live) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(journal.ids) == 4 * times * 3


# The exit of the interpreter


def run(name: str, body: str) -> subprocess.CompletedProcess[str]:
    code = f"""
import sys, threading
sys.path.insert(0, {str(TESTS)!r})
import envs, envpool_wrap, envpool_wrap.core
import numpy as np
from envpool_protocol import EnvManager
EnvManager.register_env(envs.Counting)
{body}
"""
    code = code.replace("NAME", repr(name))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_the_exit_leaves_envs_open(name: str, backend: str, journal: Journal) -> None:
    body = f"""
from pathlib import Path
kwargs = {{"closes": envs.Journal(Path({str(journal.path)!r}))}}
pool = envpool_wrap.make(NAME, "gym", num_envs=2, backend={backend!r}, env_kwargs=kwargs)
pool.reset()
pool.send(np.zeros((2, 1), np.float32))
"""
    done = run(name, body)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(journal.ids) == [0, 1]


def test_an_array_that_lives_until_the_exit_crashes_it(name: str, backend: str) -> None:
    body = f"""
pool = envpool_wrap.make(NAME, "gym", num_envs=2, backend={backend!r})
sys.held = pool.reset()
sys.pool = pool
pool.self = pool
"""
    done = run(name, body)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "hang", ["while True: pass", "threading.Event().wait(60)", "while True: threading.Event().wait(1e-3)"]
)
def test_a_hung_env_crashes_the_exit_or_holds_it_up(name: str, hang: str) -> None:
    body = f"""
envpool_wrap.core.CLOSE_DEADLINE = 0.1
pool = envpool_wrap.make(NAME, "gym", num_envs=2, backend="thread", caller_steps=False)
pool.reset()
entered = threading.Event()
def step(action):
    entered.set()
    {hang}
pool.set_attr("_step_envpool", step, env_id=0)
pool.send(np.zeros((2, 1), np.float32))
entered.wait()
print("leaving", flush=True)
"""
    start = time.monotonic()
    done = run(name, body)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "leaving", "")
    assert time.monotonic() - start < 20
