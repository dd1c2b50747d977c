"""The benchmark measures what it says, checks what it measures, and says what is missing or failed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # behind everything that is installed

from benchmarks import __main__ as cli  # noqa: E402
from benchmarks import jobs, lines, report  # noqa: E402
from benchmarks.check import Mismatch, check  # noqa: E402
from benchmarks.contender import PlainLoop  # noqa: E402
from benchmarks.contenders import CONTENDERS, OURS  # noqa: E402
from benchmarks.envs import ENVS  # noqa: E402
from benchmarks.growth import GROUPS, Endurance, Generation, MakeTime, envs_of  # noqa: E402
from benchmarks.growth import jobs as growth_jobs  # noqa: E402
from benchmarks.loop import Loop  # noqa: E402
from benchmarks.meters import Tree  # noqa: E402

QUICK = {"rounds": 2, "seconds": 0.01, "alone": 0.1}


@pytest.fixture
def elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where `-m benchmarks` is found, and what is installed is not hidden by the checkout."""
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_cell_becomes_a_line_and_the_table_shows_it(elsewhere: Path) -> None:
    pace = ["--rounds", "2", "--seconds", "0.01", "--alone", "0.1", "--out", "out.jsonl"]
    cells = ["--env", "noop", "--num-envs", "4", "--contender", "loop,ours-inline,ours-process"]
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks", *pace, *cells],
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    measured = {line["contender"]: line for line in lines.read([elsewhere / "out.jsonl"])}
    assert list(measured) == ["loop", "ours-inline", "ours-process"]
    for name, line in measured.items():
        assert line["status"] == "ok"
        for series in (
            "loop_rate",
            "contender_rate",
            "ceiling_rate",
            "lockstep_rate",
            "loop_cpu",
            "contender_cpu",
        ):
            assert len(line[series]) == 2 and min(line[series]) > 0, series
        assert ("bare_rate" in line) == (name != "ours-process")
        assert line["children"] == (name == "ours-process")
        assert sum(line["latency_bins"].values()) > 10
        assert f"| {name} | {lines.middle(lines.ratios(line, 'loop'))} |" in said.stdout
    assert measured["ours-process"]["pss"] > measured["ours-process"]["pss_before"] + 2**20


class Shifted(PlainLoop):
    """Returns each row in its neighbour's place."""

    def read(self, returned: Any) -> Any:
        rows = super().read(returned)
        return type(rows)(rows.ids, np.roll(rows.obs, 1, 0), rows.reward, rows.terminated, rows.truncated)


class Twice(PlainLoop):
    """Steps twice."""

    def stepper(self) -> Callable[[Any], Any]:
        def step(actions: Any) -> None:
            self.envs.step(actions)
            self.envs.step(actions)

        return step


class Deaf(PlainLoop):
    """Ignores its actions."""

    def stepper(self) -> Callable[[Any], Any]:
        return lambda actions: self.envs.step(np.zeros_like(actions))


class Silent(PlainLoop):
    """Does not tell that an episode is over."""

    def read(self, returned: Any) -> Any:
        rows = super().read(returned)
        return type(rows)(rows.ids, rows.obs, rows.reward, np.zeros_like(rows.terminated), rows.truncated)


@pytest.mark.parametrize(
    ("contender", "env", "leaf"),
    [
        (Shifted, "pixels", "obs"),
        (Shifted, "noop", "obs"),
        (Twice, "spin100", "obs"),
        (Twice, "pixels", "reward"),
        (Deaf, "cartpole", "obs"),
        (Silent, "cartpole", "terminated"),
    ],
)
def test_wrong_results_are_not_timed(contender: Any, env: str, leaf: str) -> None:
    loop = Loop(ENVS[env], range(3), contender.autoreset)
    with pytest.raises(Mismatch, match=rf"env \d, step \d+: {leaf} is"):
        check(contender(ENVS[env], 3, 1), loop, ENVS[env].actions(3))


@pytest.mark.parametrize("env", ["noop", "pixels", "cartpole", "uneven", "release100"])
@pytest.mark.parametrize("name", ["loop", "gymnasium-sync"])
def test_right_results_are_timed(name: str, env: str) -> None:
    contender = CONTENDERS[name]
    check(contender(ENVS[env], 3, 1), Loop(ENVS[env], range(3), contender.autoreset), ENVS[env].actions(3))


@pytest.mark.parametrize("name", OURS)
def test_right_results_of_ours_are_timed(name: str, task_id: Callable[[type], str]) -> None:
    env, contender = ENVS["noop"], CONTENDERS[name]
    task_id(env.source)
    ours = contender(env, 4, 2)
    try:
        check(ours, Loop(env, range(4), contender.autoreset), env.actions(4))
    finally:
        ours.close()


@pytest.mark.parametrize("name", [name for name, env in ENVS.items() if env.has_hooks])
def test_both_forms_of_an_env_do_the_same(name: str) -> None:
    env = ENVS[name]
    hooks, plain = env.source(5), env.as_gymnasium(5)
    hooks._reset_envpool()
    assert np.array_equal(hooks._make_obs_envpool(), plain.reset()[0])
    for action in env.actions(1)[:30, 0]:
        hooks._step_envpool(action)
        obs, reward, terminated, truncated, _ = plain.step(action)
        assert np.array_equal(hooks._make_obs_envpool(), obs)
        assert (hooks._reward_envpool(), hooks._done_envpool(), truncated) == (reward, terminated, False)
        if terminated:
            hooks._reset_envpool()
            assert np.array_equal(hooks._make_obs_envpool(), plain.reset()[0])


def test_a_cpu_meter_sees_children_and_whether_they_run() -> None:
    tree = Tree()
    tree.leave_out.update(tree.children())  # of other tests
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert tree.children() == [spinner.pid]
        busy = tree.idle_percent(0.5)
        os.kill(spinner.pid, signal.SIGSTOP)
        assert busy > 20 * tree.idle_percent(0.5)
        turn = tree.turn(lambda times: sum(range(1000)), 7, 0.05)
        assert turn.cpu is not None and 0 < turn.cpu * turn.rate / 1e6 < 1.1  # this process alone: one core
        tree.leave_out.add(spinner.pid)
        assert tree.pids() == [os.getpid()]
        assert psutil.Process().memory_info().rss * 1.1 > tree.pss() > 2**20
    finally:
        spinner.kill()
        spinner.wait()


def test_a_library_that_is_not_there_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(CONTENDERS["ray"], "needs", "no_such_library")
    cell = {"env": "noop", "num_envs": 8, "contender": "ray", "workers": 2}
    assert cli.run([("cell", "pools", cell)], tmp_path / "out") == 0
    assert "| ray | not installed |" in capsys.readouterr().out


def test_a_job_that_fails_is_told_with_its_traceback(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = {"env": "noop", "num_envs": 0, "contender": "loop", "workers": 2, **QUICK}
    assert cli.run([("cell", "pools", cell)], elsewhere / "out") == 1
    said = capsys.readouterr().out
    assert "| loop | failed |" in said and "IndexError" in said


def test_a_job_that_hangs_is_ended_with_all_that_it_started(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "DEADLINE", 5.0)
    before = psutil.Process().children(recursive=True)
    cell = {"env": "noop", "num_envs": 4, "contender": "gymnasium-async", "workers": 2, **QUICK}
    line = jobs.run_job("cell", "pools", {**cell, "rounds": 10**9})
    assert line["status"] == "failed" and "killed after 5 s" in line["error"]
    assert psutil.Process().children(recursive=True) == before


def test_growth_measures_making_and_leaking(task_id: Callable[[type], str]) -> None:
    task_id(ENVS["noop"].source)
    task_id(ENVS["obs16"].source)
    made = MakeTime("noop", 2, "ours-inline", times=2).run()
    assert len(made["built_seconds"]) == len(made["made_seconds"]) == 2
    assert 0 < min(made["built_seconds"]) < min(made["made_seconds"])
    lived = Endurance(steps=20_000, num_envs=4).run()
    assert lived["reference_growth"] == 0 and lived["rss_growth"] < 2**20
    assert Generation("noop").run()["cached"]


def test_jobs_of_growth_are_of_known_kinds_envs_and_contenders() -> None:
    todo = growth_jobs(QUICK)
    for kind, _, parameters in todo:
        module, name = jobs.KINDS[kind]
        getattr(importlib.import_module(module), name)(**parameters)
        assert parameters.get("env", "noop") in ENVS and parameters.get("contender", "loop") in CONTENDERS
    assert {group for _, group, _ in todo} == set(GROUPS) == set(report._SECTIONS) - {"pools"}
    assert set(envs_of(todo)) == {"noop", "spin100", "cartpole", *(n for n in ENVS if n.startswith("obs"))}


RECORDED = {
    "kind": "cell",
    "group": "pools",
    "env": "noop",
    "num_envs": 8,
    "contender": "ours-inline",
    "workers": 2,
    "status": "ok",
    "loop_rate": [100.0, 200.0, 100.0],
    "contender_rate": [150.0, 400.0, 110.0],
    "ceiling_rate": [200.0, 400.0, 200.0],
    "lockstep_rate": [160.0, 320.0, 160.0],
    "bare_rate": [300.0, 800.0, 200.0],
    "loop_cpu": [10.0, 5.0, 10.0],
    "contender_cpu": [8.0, 4.0, 9.0],
    "pss_before": 40 * 2**20,
    "pss": 45 * 2**20,
    "children": 1,
    "idle_percent": 0.21,
    "latency_us": {"50": 10.4, "90": 12.0, "99": 31.7, "99.9": 40.0},
    "latency_bins": {"13": 90, "19": 10},
    "machine": {
        "when": "2026-11-20T12:00:00+00:00",
        "cpu": "Some CPU",
        "cores": 2,
        "load": 0.1,
        "python": "3.11.7",
        "gil": True,
        "numpy": "2.4.6",
    },
}
GROWN = [
    {**RECORDED, "group": "num_envs", "num_envs": size, "contender_rate": [rate], "pss": pss}
    for size, rate, pss in ((64, 1e6, 41 * 2**20), (1088, 5e5, 42 * 2**20))
]


def recorded(*changes: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    file.write_text("".join(json.dumps({**RECORDED, **change}) + "\n" for change in changes))
    return lines.read([file])


def test_ratios_are_medians_of_rounds(tmp_path: Path) -> None:
    text = report.tables(recorded({}, file=tmp_path / "lines"))
    assert text.startswith("2026-11-20, Some CPU, 2 cores, Python 3.11.7, NumPy 2.4.6;")
    assert "| ours-inline | 1.50 |" in text
    assert "| *ceiling* | 2.00 |" in text
    limits = "0.75 (0.55–1.00) | 2.00 | 0.94 (0.69–1.25) | 1.60 | 0.50 (0.50–0.55) "
    details = f"| noop | ours-inline | 8 | 1.50 (1.10–2.00) | {limits}"
    assert f"{details}| 0.80 | 5 (1) | 0.2 | 10 / 32 | 150 |" in text


def test_the_last_line_of_a_cell_counts(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    [line] = recorded({"status": "failed"}, {"contender_rate": [100.0, 200.0, 100.0]}, file=file)
    assert line["status"] == "ok" and lines.ratios(line, "loop") == [1, 1, 1]


def test_lines_come_in_the_order_of_the_tables(tmp_path: Path) -> None:
    changes = ({"contender": "envpool"}, {"env": "uneven"}, {"num_envs": 64}, {"contender": "loop"}, {})
    read = recorded(*changes, file=tmp_path / "lines")
    assert [(line["env"], line["num_envs"], line["contender"]) for line in read] == [
        *(("noop", 8, "loop"), ("noop", 8, "ours-inline"), ("noop", 8, "envpool")),
        *(("noop", 64, "ours-inline"), ("uneven", 8, "ours-inline")),
    ]


def test_growth_is_told_over_the_smallest(tmp_path: Path) -> None:
    text = report.tables(recorded(*GROWN, file=tmp_path / "lines"))
    assert "| 64 | 1,000 (1.00) | 10,000,000 |" in text and "| 1,088 | 2,000 (2.00) | 10,000,000 |" in text
    assert "ours-inline 1.0 kB." in text


def test_plots_are_drawn_of_what_is_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plots import draw

    drawn = draw(recorded({}, *GROWN, file=tmp_path / "lines"), tmp_path / "plots")
    assert [file.name for file in drawn] == ["peers-8.svg", "scaling.svg", "latency.svg"]
    assert all("</svg>" in file.read_text() for file in drawn)


@pytest.mark.parametrize("arguments", [["--env", "nop"], ["--contender", "ours-inlin"], ["--num-envs", "x"]])
def test_a_misspelt_choice_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli._parser().parse_args(arguments)
    assert "error" in capsys.readouterr().err


@pytest.mark.integration
def test_running_envs_are_measured_beside_their_pool(monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip("torch")
    from benchmarks import running_envs

    monkeypatch.setattr(running_envs, "SIZES", [2])
    monkeypatch.setattr(running_envs, "ROUNDS", 2)
    running_envs.main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [[row[1].strip(), row[2].strip()] for row in rows] == [["2", "inline"], ["2", "process"]]
    assert all(float(row[6]) > 0 for row in rows)


@pytest.mark.integration
@pytest.mark.parametrize("name", [name for name in CONTENDERS if name not in ("loop", *OURS)])
def test_a_peer_returns_what_the_loop_returns(name: str, elsewhere: Path) -> None:
    if importlib.util.find_spec(CONTENDERS[name].needs) is None:
        pytest.skip(f"{CONTENDERS[name].needs} is not part of the extra `test`")
    cell = {"env": "cartpole", "num_envs": 4, "contender": name, "workers": 2, "beside": (), **QUICK}
    line = jobs.run_job("cell", "pools", cell)
    assert line["status"] == "ok", line["error"]


@pytest.mark.integration
def test_elegantrls_face_is_measured_beside_its_pool(home: Path, one_torch_thread: None) -> None:
    pytest.importorskip("torch")
    from benchmarks import elegantrl

    for pair, num_envs in ((elegantrl.face_and_pool("noop", 2, "inline"), 2), (elegantrl.chasing(8, -1), 8)):
        with pair as runs:
            assert min(elegantrl.measure(runs, num_envs, rounds=1, seconds=0.01)) > 0
