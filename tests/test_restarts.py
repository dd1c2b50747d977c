"""`on_error="restart"`: an env that raises is built anew, its episode ends truncated, and all goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import Faulty, Journal

from envpool_protocol.errors import EnvError

ZEROS = np.zeros(3, int)
TWO = [{}, {"fail_in": "_step_envpool", "fail_at": 2}, {}]


@pytest.fixture
def fragile(make: Any, backend: str) -> Any:
    """`fragile(kwargs, **config)`: three Faulty envs with restarts, on every backend."""

    def made(kwargs: Any = TWO, env_type: str = "gym", **config: Any) -> Any:
        workers = 0 if backend == "inline" else 2
        config = {"on_error": "restart", "num_threads": workers, **config}
        return make(Faulty, env_type, num_envs=3, backend=backend, env_kwargs=kwargs, **config)

    return made


def test_an_env_that_raises_stops_the_pool(fragile: Any) -> None:
    pool = fragile(seed=7)
    pool.reset()
    pool.step(ZEROS)
    obs, reward, terminated, truncated, info = pool.step(ZEROS)
    assert obs.tolist() == [[0, 2], [0, 0], [2, 2]]
    assert (reward.tolist(), terminated.tolist()) == ([1, 0, 1], [False] * 3)
    assert truncated.tolist() == [False, True, False]
    assert info["elapsed_step"].tolist() == [2, 1, 2]
    assert info["_t"].tolist() == [True, False, True]
    obs, reward, _, truncated, info = pool.step(ZEROS)  # the first of a new episode
    assert obs.tolist() == [[0, 3], [1, 0], [2, 3]]
    assert (truncated.tolist(), info["elapsed_step"].tolist()) == ([False] * 3, [3, 0, 3])
    assert pool.step(ZEROS)[0].tolist() == [[0, 4], [1, 1], [2, 4]]
    stats = pool.stats()
    assert (stats["restarts"], stats["steps"], stats["episodes"]) == ([0, 1, 0], [4, 2, 4], [0, 1, 0])
    # A new env, with the seed of the pool.
    assert pool.get_attr("seeds") == [[7], [8], [9]]


def test_an_env_is_restarted_for_ever_or_its_error_is_lost(fragile: Any) -> None:
    pool = fragile([{}, {"fail_in": "_reward_envpool"}, {"fail_in": "_reward_envpool"}], max_restarts=2)
    pool.reset([1])
    for _ in range(2):
        assert pool.step(ZEROS[:1], [1])[3].tolist() == [True]
        pool.step(ZEROS[:1], [1])
    assert pool.stats()["restarts"] == [0, 2, 0]
    with pytest.raises(EnvError, match="env 1: _reward_envpool raised ValueError: env 1 says no") as caught:
        pool.step(ZEROS[:1], [1])
    assert caught.value.result[3].tolist() == [True]
    assert pool.stats()["restarts"] == [0, 2, 0]
    pool.reset()
    with pytest.raises(EnvError, match="env 1: ") as caught:
        pool.step(ZEROS)
    assert [error.env_id for error in caught.value.errors] == [1, 2]
    assert caught.value.result[0].tolist() == [[0, 1], [0, 0], [0, 0]]


def test_no_restart_at_all_restarts_once(fragile: Any) -> None:
    pool = fragile(max_restarts=0)
    pool.reset()
    pool.step(ZEROS)
    with pytest.raises(EnvError):
        pool.step(ZEROS)
    assert pool.stats()["restarts"] == [0, 0, 0]


def test_a_restart_leaves_the_old_env_open(fragile: Any, journal: Journal) -> None:
    pool = fragile([{"closes": journal, **kwargs} for kwargs in TWO])
    pool.reset()
    pool.step(ZEROS)
    pool.step(ZEROS)
    assert journal.ids == [1]
    pool.close()
    assert sorted(journal.ids) == [0, 1, 1, 2]


@pytest.mark.parametrize("hook", ["_reset_envpool", "_seed_envpool"])
def test_an_error_of_a_reset_is_not_restarted(fragile: Any, hook: str) -> None:
    pool = fragile([{}, {"fail_in": hook, "fail_at": 0}, {}], max_restarts=3)
    obs, info = pool.reset()
    assert (obs.tolist(), info["env_id"].tolist()) == ([[0, 0], [0, 0], [2, 0]], [0, 1, 2])
    assert pool.step(ZEROS)[3].tolist() == [False, True, False]
    pool.step(ZEROS)
    with pytest.raises(EnvError, match=hook):
        pool.step(ZEROS)
    assert pool.stats()["restarts"] == [0, 3, 0]


def test_an_env_that_cannot_be_built_again_crashes_its_worker(fragile: Any, tmp_path: Path) -> None:
    fail_in = tmp_path / "fail_in"
    fail_in.write_text("_step_envpool")
    pool = fragile(lambda env_id: {"fail_in": fail_in.read_text() if env_id == 1 else ""})
    pool.reset()
    fail_in.write_text("__init__")
    with pytest.raises(EnvError, match="env 1: __init__ raised ValueError: env 1 says no") as caught:
        pool.step(ZEROS)
    assert caught.value.result[0].tolist() == [[0, 1], [0, 0], [2, 1]]
    assert pool.stats()["restarts"] == [0, 1, 0]
    for restarts in (2, 3):  # its next action builds it, in vain
        assert pool.step(ZEROS)[3].tolist() == [False, True, False]
        assert pool.stats()["restarts"] == [0, restarts, 0]
    fail_in.write_text("")
    assert pool.step(ZEROS)[0].tolist() == [[0, 4], [1, 0], [2, 4]]
    assert pool.step(ZEROS)[0].tolist() == [[0, 5], [1, 1], [2, 5]]


def test_an_env_that_cannot_be_built_keeps_options_for_a_later_reset(
    pool: Any, backend: str, tmp_path: Path
) -> None:
    fails = tmp_path / "fails"
    fails.write_text("")
    troubled = pool(
        backend=backend,
        num_threads=1,
        env_kwargs=lambda env_id: {"what": fails.read_text() if env_id == 0 else "", "at": "__init__"},
        on_error="restart",
    )
    troubled.reset()
    troubled.set_attr("what", "ValueError", env_id=[0])
    troubled.set_attr("at", "_step_envpool", env_id=[0])
    fails.write_text("ValueError")
    with pytest.raises(EnvError, match="env 0: __init__ raised"):
        troubled.step(np.zeros(4, int))
    assert troubled.reset([0], options={"option": 5})[0].tolist() == [[0, 0, 0, 0]]  # built in vain
    fails.write_text("")
    assert troubled.reset([0])[0][:, 3].tolist() == [0]
    assert troubled.reset([0], options={"option": 5})[0][:, 3].tolist() == [5]


def test_an_env_that_was_built_late_is_never_closed(fragile: Any, tmp_path: Path, journal: Journal) -> None:
    fail_in = tmp_path / "fail_in"
    fail_in.write_text("_step_envpool")
    pool = fragile(lambda env_id: {"closes": journal, "fail_in": fail_in.read_text() if env_id == 1 else ""})
    pool.reset()
    fail_in.write_text("__init__")
    with pytest.raises(EnvError, match="env 1: __init__"):
        pool.step(ZEROS)
    fail_in.write_text("")
    pool.step(ZEROS)
    assert journal.ids == [1]
    pool.close()
    assert sorted(journal.ids) == [0, 1, 1, 2]


@pytest.mark.parametrize("env_type", ["gym", "gymnasium", "dm"])
def test_a_face_shows_a_restart_otherwise(fragile: Any, env_type: str) -> None:
    pool = fragile(env_type=env_type)
    pool.reset()
    pool.step(ZEROS)
    result = pool.step(ZEROS)
    if env_type == "dm":
        assert (result.step_type.tolist(), result.discount.tolist()) == ([1, 2, 1], [1, 1, 1])
    else:
        assert result[3].tolist() == [False, True, False]


def test_a_restart_in_an_asynchronous_pool_loses_rows(fragile: Any) -> None:
    pool = fragile([{"fail_in": "_step_envpool", "fail_at": 3}] * 3, batch_size=2, max_restarts=100)
    pool.async_reset()
    seen = np.zeros(3, int)
    ends = np.zeros(3, int)
    for _ in range(40):
        _, _, _, truncated, info = pool.recv()
        seen[info["env_id"]] += 1
        ends[info["env_id"]] += truncated
        pool.send(ZEROS[: len(info["env_id"])], info["env_id"])
    assert seen.sum() == 80
    assert ends.tolist() == (seen // 4).tolist()
    assert pool.stats()["in_flight"] == 3
    restarts = pool.stats()["restarts"]
    assert restarts == ends.tolist()


def test_a_restart_spoils_the_batches_behind_it(fragile: Any) -> None:
    pool = fragile([{}, {"fail_in": "_step_envpool"}, {}])
    pool.reset()
    for env_id in (1, 0, 2):
        pool.send(ZEROS[:1], [env_id])
    assert pool.recv()[3].tolist() == [True]
    assert pool.recv()[0].tolist() == [[0, 1]]
    pool.send(ZEROS[:1], [1])
    assert pool.recv()[0].tolist() == [[2, 1]]
    assert pool.recv()[0].tolist() == [[1, 0]]
