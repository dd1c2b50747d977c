"""Workers that die while their envs are idle, as another env's recv notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from faulty_envs import is_gone, until
from troubled_pools import HOW, LOST, PROCESSES, assert_works, pids_of, receive_all, still

from envpool_protocol.errors import WorkerDied


@pytest.fixture
def bereaved(pool: Any) -> Callable[..., Any]:
    """`bereaved(how)`: envs 2 and 3 are idle, at t = 1; their worker is dead, and a recv of env 0 noticed."""

    def make(how: str, begun: int = 4, **settings: Any) -> Any:
        troubled = pool(**HOW[how], **settings)
        troubled._send_reset(list(range(begun)), None, None)
        assert not receive_all(troubled)[1]
        troubled.send(still(begun), list(range(begun)))
        assert not receive_all(troubled)[1]
        victim = pids_of(troubled)[-1]
        os.kill(victim, signal.SIGKILL)
        assert until(lambda: is_gone(victim))

        def noticed() -> bool:
            troubled.send(still(1), [0])
            assert not receive_all(troubled)[1]
            return victim not in pids_of(troubled)

        assert until(noticed)
        return troubled

    return make


@pytest.mark.parametrize("how", PROCESSES)
def test_an_env_that_was_idle_when_its_worker_died_starts_afresh_and_nobody_is_told(
    bereaved: Any, how: str
) -> None:
    troubled = bereaved(how)
    troubled.send(still(3), [3, 1, 2])
    rows, failures = receive_all(troubled)
    assert rows[2] == rows[3] == LOST
    assert rows[1][0][:2] == [1, 2]
    assert {failure.env_id: failure.hook for failure in failures} == {2: "worker", 3: "worker"}
    assert all("was killed by SIGKILL" in str(failure) for failure in failures)
    assert [failure.elapsed_step for failure in failures] == [1, 1]
    for t in range(2):  # told once; then they go on
        troubled.send(still(2), [2, 3])
        rows, failures = receive_all(troubled)
        assert not failures
        assert {env: row[0][:2] for env, row in rows.items()} == {2: [2, t], 3: [3, t]}
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_an_env_that_was_idle_when_its_worker_died_is_restarted_uncounted(bereaved: Any, how: str) -> None:
    troubled = bereaved(how, on_error="restart", max_restarts=1)
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert (rows, failures) == ({2: LOST, 3: LOST}, [])
    assert troubled.stats()["restarts"] == [0, 0, 1, 1]
    assert troubled.stats()["episodes"] == [0, 0, 1, 1]
    for t in range(2):
        troubled.send(still(2), [2, 3])
        rows, _ = receive_all(troubled)
        assert {env: row[0][:2] for env, row in rows.items()} == {2: [2, t], 3: [3, t]}
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_a_restart_for_one_env_hides_what_another_lost(bereaved: Any, how: str) -> None:
    troubled = bereaved(how)
    for expected in (LOST[0], [2, 0], [2, 1]):
        troubled.send(still(1), [2])
        rows, failures = receive_all(troubled)
        assert rows[2][0][:2] == expected[:2]
        assert [failure.env_id for failure in failures] == ([2] if expected == LOST[0] else [])
    assert troubled.call("about", env_id=[3])[0]["pid"] == pids_of(troubled)[-1]
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert (rows[2][0][:2], rows[3]) == ([2, 2], LOST)
    assert [failure.env_id for failure in failures] == [3]
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_a_reset_of_an_env_that_lost_its_worker_fails(bereaved: Any, how: str) -> None:
    troubled = bereaved(how)
    troubled._send_reset([2], None, None)
    rows, failures = receive_all(troubled)
    assert (rows[2][0][:2], failures) == ([2, 0], [])
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert (rows[2][0][:2], rows[3]) == ([2, 1], LOST)
    assert [failure.env_id for failure in failures] == [3]
    assert_works(troubled)


@pytest.mark.parametrize("how", PROCESSES)
def test_an_env_that_had_not_begun_loses_an_episode_to_its_dead_worker(bereaved: Any, how: str) -> None:
    troubled = bereaved(how, begun=2)
    troubled.send(still(2), [2, 3])
    rows, failures = receive_all(troubled)
    assert ({env: row[0][:2] for env, row in rows.items()}, failures) == ({2: [2, 0], 3: [3, 0]}, [])


def test_a_restart_of_a_worker_hides_a_failure_that_was_not_received_yet(pool: Any) -> None:
    troubled = pool(**{**HOW["process-async"], "batch_size": 1})
    troubled.async_reset()
    receive_all(troubled)
    troubled.call("__setattr__", "what", "kill9", env_id=[2])
    troubled.send(still(2), [2, 3])
    with pytest.raises(WorkerDied) as caught:
        troubled.recv()
    (first,) = caught.value.errors
    troubled.send(still(1), [first.env_id])
    _, failures = receive_all(troubled)
    assert [failure.env_id for failure in failures] == [5 - first.env_id]
    assert_works(troubled)
