"""Envs and workers that fail while they are made, or made again."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from faulty_envs import children_of, descriptors, is_gone, until
from scripts import words_of
from troubled_pools import DEATHS, HOW, PROMPT, assert_works, still

from envpool_protocol.errors import EnvError, WorkerDied


@pytest.mark.parametrize("how", HOW)
def test_an_exception_in_a_constructor_leaves_a_worker(pool: Any, how: str) -> None:
    with pytest.raises(EnvError, match="env 2: __init__ raised ValueError: env 2 says no") as caught:
        pool("ValueError", at="__init__", who=2, **HOW[how])
    assert [failure.env_id for failure in caught.value.errors] == [2]
    assert until(lambda: not children_of(os.getpid()))


@pytest.mark.parametrize("what", DEATHS)
@pytest.mark.parametrize("how", ["process", "process+caller"])
def test_a_worker_that_dies_in_a_constructor_hangs_make(pool: Any, how: str, what: str) -> None:
    gc.collect()
    before = descriptors()
    with pytest.raises(WorkerDied, match=DEATHS[what]) as caught:
        pool(what, at="__init__", who=3, **HOW[how])
    assert 3 in [failure.env_id for failure in caught.value.errors]
    del caught
    gc.collect()
    assert until(lambda: not children_of(os.getpid()))
    assert descriptors() == before


def test_workers_outlive_a_parent_that_is_killed_while_they_start(script: Any, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "slow_to_import.py").write_text(
        "import os, sys, time\n"
        "def wait():\n"
        f"    open({str(tmp_path / 'importing')!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(3600)\n"
        "class Slow:\n"
        "    def __reduce__(self): return wait, ()\n"
    )
    process = script(f"""
sys.path.append({str(slow)!r})
import slow_to_import
say("making")
envpool_wrap.make(NAME, "gym", num_envs=4, num_threads=2, backend="process",
                  env_kwargs={{"what": slow_to_import.Slow()}})
""")
    words_of(process, "making")
    assert until(lambda: (tmp_path / "importing").exists() and (tmp_path / "importing").read_text())
    pids = children_of(process.pid)
    assert pids
    os.kill(process.pid, signal.SIGKILL)
    assert until(lambda: all(map(is_gone, pids)), PROMPT)


def test_a_worker_that_dies_when_built_again_hangs_send(pool: Any) -> None:
    troubled = pool("kill9", who=3, once=True)
    troubled.reset()
    with pytest.raises(WorkerDied):
        troubled.step(still(4))
    for at in range(2):  # the next ones die in the constructor
        troubled._open.processes._orders["factory"] = _dying_factory()
        with pytest.raises(WorkerDied, match="exited with code 3"):
            troubled.step(still(4)) if at else troubled.reset()
        assert troubled._core.num_in_flight == 0
    obs, *_ = troubled.step(still(2), [0, 1])
    assert obs[:, 1].tolist() == [2, 2]


def _dying_factory() -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(lambda env_id: os._exit(3))
    return data


def test_an_env_that_cannot_be_built_again_is_stepped_all_the_same(pool: Any, tmp_path: Path) -> None:
    import cloudpickle

    troubled = pool("kill9", who=3, once=True)
    troubled.reset()
    with pytest.raises(WorkerDied):
        troubled.step(still(4))
    good = troubled._open.processes._orders["factory"]
    broken = tmp_path / "broken"
    broken.touch()

    def flaky(env_id: int) -> Any:
        if broken.exists() and env_id == 3:
            raise ValueError("still broken")
        return cloudpickle.loads(good)(env_id)

    troubled._open.processes._orders["factory"] = cloudpickle.dumps(flaky)
    for _ in range(3):
        with pytest.raises(EnvError, match="env 3: __init__ raised ValueError: still broken"):
            troubled.reset()
    obs, *_ = troubled.step(still(3), [0, 1, 2])
    assert obs[:, :2].tolist() == [[0, 1], [1, 1], [2, 1]]
    broken.unlink()
    assert_works(troubled)


@pytest.mark.parametrize("how", ["process", "process+caller"])
def test_a_worker_that_dies_while_an_env_is_rebuilt_hangs_recv(pool: Any, how: str) -> None:
    # The env raises in its step, and dies when it is closed to be built again.
    settings = {**HOW[how], "caller_steps": how == "process+caller"}
    troubled = pool("ValueError", who=3, once=True, on_error="restart", **settings)
    troubled.reset()
    troubled.set_attr("_close_envpool", _Dying(), env_id=[3])
    with contextlib.suppress(WorkerDied):
        _, _, _, truncated, _ = troubled.step(still(4))
        assert truncated.tolist()[3]
    assert_works(troubled)


class _Dying:
    def __call__(self) -> None:
        os._exit(3)
