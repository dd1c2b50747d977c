"""`tune`, end to end on envs that cost nothing. What it advises is tested in test_advice.py."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import envs
import psutil
import pytest
from plain_envs import Echo

import envpool_wrap
from envpool_protocol import EnvManager
from envpool_protocol.errors import ConfigError, PoolError, UnknownEnvError
from envpool_wrap.tuning.recording import Recording
from envpool_wrap.tuning.report import Report

QUICK = {"seconds": 0.1}


@pytest.fixture(scope="module")
def report(task_id: Any) -> Report:
    """Of an env of which both numbers of envs are tried, however long that takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("envpool_wrap.tuning.tune._cost", lambda env, num_envs: 0.0)
        return envpool_wrap.tune(task_id(envs.Counting), **QUICK, seed=7)


def test_report_holds_what_make_takes(report: Report) -> None:
    assert report.task_id == "Counting_wrap"
    assert report.config["num_envs"] in (8, 64) and report.config["seed"] == 7
    with envpool_wrap.make(report.task_id, **report.config) as pool:
        assert pool.config["backend"] == report.config["backend"]
        assert pool.config["num_threads"] == report.config.get("num_threads", 1)
    assert not psutil.Process().children()


def test_report_says_what_was_measured_and_why(report: Report) -> None:
    recording = report.recording
    assert [contest.num_envs for contest in recording.contests] == [8, 64]
    assert all("inline" in [trial.name for trial in contest.trials] for contest in recording.contests)
    assert recording.env.num_envs == 8 and recording.env.obs_bytes == 12 and not recording.env.casts
    assert recording.env.step_us["p50"] <= recording.env.step_us["p99"] <= recording.env.step_us["max"]
    assert report.ratio.least <= report.ratio.median <= report.ratio.greatest
    said = str(report)
    assert said.startswith(
        f"Counting_wrap: {report.ratio} × a plain loop with\n  make('Counting_wrap', env_type='gym'"
    )
    for line in ("why", "measured", *(f"  {reason}" for reason in report.reasons), f"  {report.auto}"):
        assert line in said.splitlines()


def test_report_is_plain_json_and_its_recording_comes_back(report: Report) -> None:
    values = json.loads(json.dumps(report.to_json()))
    assert values["config"] == report.config and values["ratio"]["median"] == report.ratio.median
    again = Recording.from_json(values["recording"])
    assert Recording.from_json(again.to_json()) == again
    assert [len(contest.trials) for contest in again.contests] == [
        len(contest.trials) for contest in report.recording.contests
    ]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_plot_has_a_bar_for_each_that_was_tried(ending: str, report: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = report.plot(tmp_path / f"plot.{ending}")
    assert file.stat().st_size > 1000


def test_class_is_registered_and_generated_on_the_way(registry: None, task_id: Any) -> None:
    task_id(envs.Counting)
    EnvManager._sources.clear()
    told = envpool_wrap.tune(envs.Counting, 2, **QUICK, env_type="dm", backend="inline")
    assert told.config == {"env_type": "dm", "num_envs": 2, "backend": "inline"}
    assert [trial.name for trial in told.recording.contests[0].trials] == ["inline"]


def test_nothing_is_shown_where_there_is_no_terminal(task_id: Any, capfd: pytest.CaptureFixture[str]) -> None:
    envpool_wrap.tune(task_id(envs.Counting), 1, **QUICK)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("registry")
def test_envs_of_other_apis_are_tuned_too() -> None:
    name = envpool_wrap.register(Echo, "TunedEcho")
    told = envpool_wrap.tune(name, 2, **QUICK, backend="inline")
    assert told.config["backend"] == "inline" and told.recording.env.obs_bytes > 50


def test_env_that_cannot_be_pickled_is_told(task_id: Any) -> None:
    told = envpool_wrap.tune(task_id(envs.Faulty), 4, **QUICK, env_kwargs={"error": threading.Lock()})
    assert told.config["backend"] in ("inline", "thread") and "lock" in told.recording.env.cannot_travel
    assert "process" not in {trial.settings["backend"] for trial in told.recording.contests[0].trials}


def test_env_that_is_dear_to_make_is_tried_in_small_numbers_only(
    task_id: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envpool_wrap.tuning.tune._cost", lambda env, num_envs: 1.0 * (num_envs > 8))
    told = envpool_wrap.tune(task_id(envs.Counting), **QUICK)
    assert [contest.num_envs for contest in told.recording.contests] == [8]


# Bad input


def test_unknown_env_bad_settings_and_times_are_refused_before_anything_is_made(task_id: Any) -> None:
    name = task_id(envs.Counting)
    with pytest.raises(UnknownEnvError, match=r"Couting_wrap.*Counting_wrap"):
        envpool_wrap.tune("Couting_wrap")
    for seconds in (0, -1, True, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"seconds=.*: expected a number above 0"):
            envpool_wrap.tune(name, seconds=seconds)
    with pytest.raises(ConfigError, match="num_envs=0: expected an int of at least 1"):
        envpool_wrap.tune(name, 0)
    with pytest.raises(ConfigError, match="batch_size=4 without num_envs; give both, or neither"):
        envpool_wrap.tune(name, batch_size=4)
    with pytest.raises(ConfigError, match="unknown setting 'bakend'"):
        envpool_wrap.tune(name, bakend="inline")
    with pytest.raises(ConfigError, match="env_type='gim'"):
        envpool_wrap.tune(name, env_type="gim")


def test_live_envs_are_not_taken_since_several_pools_would_step_them(registry: None) -> None:
    EnvManager.register_env([Echo(), Echo()], name="Living")
    with pytest.raises(ConfigError, match=r"Living_wrap is 2 instances of Echo; tune makes envs of its own"):
        envpool_wrap.tune("Living_wrap", **QUICK)


def test_nothing_left_to_recommend_is_an_error_that_says_why(task_id: Any) -> None:
    with pytest.raises(
        PoolError, match=r"no pool of Faulty_wrap could be measured: process, 2 workers: .*lock"
    ):
        envpool_wrap.tune(
            task_id(envs.Faulty),
            2,
            **QUICK,
            backend="process",
            num_threads=2,
            env_kwargs={"error": threading.Lock()},
        )


def test_env_that_raises_is_the_users_own_error(task_id: Any) -> None:
    with pytest.raises(ValueError, match="env 1 says no") as caught:
        envpool_wrap.tune(task_id(envs.Faulty), 2, **QUICK, env_kwargs=[{}, {"fail_in": "_step_envpool"}])
    assert "in env 1, stepped in a plain loop" in caught.value.__notes__[0]
