"""The examples run as printed, and HalfCheetah in a pool is HalfCheetah stepped by hand."""

from __future__ import annotations

import importlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from terminal import everything

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(script: str, folder: Path, home: Path) -> str:
    environment = {**os.environ, "ENVPOOL_WRAP_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_env_of_one_file_is_used_from_a_second_in_another_folder(tmp_path: Path, home: Path) -> None:
    assert "MyEnv_wrap" in run("my_env.py", tmp_path, home)
    assert "MyEnv_wrap" in run("use_my_env.py", tmp_path, home)
    assert not list(tmp_path.iterdir()), "examples leave files where they are run"


def test_demo_prints_both_rates_for_both_envs_in_both_modes(tmp_path: Path, home: Path) -> None:
    said = run("demo.py", tmp_path, home)
    for task in ("MyEnv_wrap", "HalfCheetah_wrap"):
        for mode in ("gym", "dm"):
            line = next(
                line for line in said.splitlines() if line.startswith(f"{task}, {mode}, 16 envs, 1000")
            )
            assert "steps/s; plain loop" in line and "ratio" in line


@pytest.mark.parametrize("terminal", [True, False])
def test_demo_shows_a_bar_on_a_terminal_and_plain_lines_elsewhere(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    reader, writer = pty.openpty() if terminal else os.pipe()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(writer, "w") as stdout, monkeypatch.context() as patch:
        demo = importlib.import_module("demo")
        patch.setattr(sys, "stdout", stdout)
        with demo.progress("compiling it", total=4) as advance:
            advance(2)
    said = everything(reader)
    assert ("━" in said and "\x1b[" in said) if terminal else said == "compiling it ...\n"


@pytest.mark.integration
def test_running_envs_tell_how_long_and_how_many_episodes_were(tmp_path: Path, home: Path) -> None:
    pytest.importorskip("torch")
    said = run("running_envs.py", tmp_path, home).splitlines()
    lengths, episodes = ([int(word) for word in line.rpartition(":")[2].split()] for line in said)
    assert len(lengths) == 4 and min(lengths) >= 1 and max(lengths) > min(lengths)
    assert len(episodes) == 8 and min(episodes) >= 1


@pytest.mark.integration
def test_batched_simulator_is_not_stepped_or_its_pendulums_hang(tmp_path: Path, home: Path) -> None:
    pytest.importorskip("torch")
    said = run("batched_simulator.py", tmp_path, home)
    assert "num_envs=4096, autoreset_mode=same_step" in said and "up on average" in said


@pytest.fixture
def cheetah(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("half_cheetah").HalfCheetah


@pytest.mark.parametrize("env_type", ["gym", "dm"])
def test_half_cheetah_in_a_pool_is_half_cheetah_by_hand(
    env_type: str, backend: str, cheetah: Any, make: Callable[..., Any]
) -> None:
    num_envs, limit, steps = 3, 25, 60
    pool = make(cheetah, env_type, num_envs=num_envs, seed=7, max_episode_steps=limit, backend=backend)
    plain = [gymnasium.make("HalfCheetah-v5", max_episode_steps=limit) for _ in range(num_envs)]
    first = np.stack([env.reset(seed=7 + i)[0] for i, env in enumerate(plain)])
    answer = pool.reset()
    assert np.array_equal(answer.observation.obs if env_type == "dm" else answer[0], first)

    over = [False] * num_envs
    rng = np.random.default_rng(0)
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (num_envs, 6)).astype(np.float32)
        answer = pool.step(actions)
        for i, env in enumerate(plain):
            if over[i]:
                obs, reward, terminated, truncated = env.reset()[0], 0.0, False, False
            else:
                obs, reward, terminated, truncated, _ = env.step(actions[i])
            over[i] = bool(terminated or truncated)
            if env_type == "dm":
                assert np.array_equal(answer.observation.obs[i], obs)
                assert answer.reward[i] == np.float32(reward)
                assert (answer.step_type[i] == 2) == over[i] and answer.discount[i] == (not terminated)
            else:
                assert np.array_equal(answer[0][i], obs)
                assert answer[1][i] == np.float32(reward)
                assert (answer[2][i], answer[3][i]) == (terminated, truncated)
    assert sum(env.unwrapped.data.time > 0 for env in plain) == num_envs  # they did move
    for env in plain:
        env.close()


@pytest.mark.integration
def test_ray_pool_shows_eight_seeds_and_random_episodes(tmp_path: Path, home: Path) -> None:
    pytest.importorskip("ray")
    pytest.importorskip("stable_baselines3")
    said = run("ray_pool.py", tmp_path, home)
    assert "20 random episodes of" in said
    assert "[[ 0.0136" in said and "[1. 1. 1. 1. 1. 1. 1. 1.]" in said
