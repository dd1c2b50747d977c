"""examples/ppo.py: it learns, and its columns hold what each env did. Needs torch: `make test-all`."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from envs import Counting
from gymnasium import spaces

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_torch_thread")]

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ASYNC = {"batch_size": 2, "backend": "process"}


@pytest.fixture
def ppo(monkeypatch: pytest.MonkeyPatch, registry: None) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("ppo")


def player_of(ppo: Any, pool: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    agent = ppo.Agent(pool.spec.gymnasium_observation_space, pool.spec.gymnasium_action_space)
    return ppo.Player(pool, agent, ppo.Settings(**settings))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_solves_cartpole(tmp_path: Path, home: Path) -> None:
    """With the settings that it has by itself: 98,304 steps."""
    command = [sys.executable, str(EXAMPLES / "ppo.py"), "--task", "CartPole_wrap"]
    environ = {**os.environ, "ENVPOOL_WRAP_HOME": str(home)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=290)
    found = re.search(r"^CartPole_wrap: mean return (\S+) after 98,304 steps$", done.stdout, re.M)
    assert found and float(found[1]) >= 475, done.stdout + done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["ppo.png"]


@pytest.mark.parametrize(
    "settings",
    ["--backend inline --num-envs 2", "--backend process", "--backend process --batch-size 3 --num-envs 5"],
    ids=["inline", "process", "async"],
)
def test_it_runs_and_draws(
    settings: str, ppo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "curve.png"
    quick = f"--steps 500 --rollout 16 --epochs 2 --evaluate 4 --plot {plot}"
    assert ppo.main([*settings.split(), *quick.split()]) > 5
    said = capsys.readouterr().out.splitlines()
    assert 4 <= sum("steps, " in line and "mean return" in line for line in said) <= 11
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_synchronous_runs_repeat_on_any_backend(ppo: Any) -> None:
    quick = ["--num-envs=4", "--steps=1000", "--evaluate=4", "--plot="]
    first, *others = (ppo.main([*quick, f"--backend={name}"]) for name in ("inline", "process", "process"))
    assert others == [first, first]


@pytest.mark.parametrize("config", [{}, ASYNC], ids=["sync", "async"])
def test_a_column_mixes_envs_or_loses_a_step(config: dict[str, Any], ppo: Any, make: Any) -> None:
    """Env i counts to 2 + i, and its reward tells env and step."""
    pool = make(Counting, num_envs=4, autoreset_mode="same_step", episode_stats=True, **config)
    player = player_of(ppo, pool, rollout=7)
    rollouts = [player.play() for _ in range(3)]
    assert player.steps == 3 * 7 * 4
    for env in range(4):
        obs = torch.cat([rollout.obs[:, env] for rollout in rollouts])
        action = torch.cat([rollout.action[:, env] for rollout in rollouts])
        assert (obs[:, 0] == env).all()
        assert obs[:, 1].tolist() == [t % (2 + env) for t in range(21)]
        goes_on = obs[1:, 1] > 0  # the action of a step is in the observation after it
        assert torch.equal(obs[1:, 2][goes_on], action[:-1, 0].clamp(-1, 1)[goes_on])
        after = (obs[:, 1] + 1).tolist()
        assert torch.cat([rollout.reward[:, env] for rollout in rollouts]).tolist() == [
            10 * t + env for t in after
        ]
        ended = torch.cat([rollout.ended[:, env] for rollout in rollouts])
        assert ended.tolist() == [float(t == 2 + env) for t in after]
        assert player.obs[env].tolist()[:2] == [env, 21 % (2 + env)]
    sums = {sum(10 * t + env for t in range(1, 3 + env)) for env in range(4)}
    assert {episode for _, episode in player.returns} == sums
    assert len(player.returns) == sum(21 // (2 + env) for env in range(4))


@pytest.mark.parametrize("config", [{}, ASYNC], ids=["sync", "async"])
def test_only_what_was_cut_short_is_made_up_for(config: dict[str, Any], ppo: Any, make: Any) -> None:
    """At most three steps: env 0 ends by itself, env 1 both at once, env 2 and 3 are cut short."""
    pool = make(Counting, num_envs=4, autoreset_mode="same_step", max_episode_steps=3, **config)
    player = player_of(ppo, pool, rollout=6, gamma=0.5)
    rollout = player.play()
    for env in range(4):
        for t in range(6):
            step = int(rollout.obs[t, env, 1]) + 1
            made_up = rollout.reward[t, env] - (10 * step + env)
            if step == 3 and env > 1:
                last = torch.tensor([env, step, float(rollout.action[t, env, 0].clamp(-1, 1))])
                assert made_up == pytest.approx(0.5 * player.agent.value(last).item(), abs=1e-5)
                assert rollout.ended[t, env] == 1
            else:
                assert made_up == 0


def test_advantages_are_discounted_sums_of_surprises(ppo: Any) -> None:
    rng = np.random.default_rng(0)
    reward, value = rng.normal(size=(2, 9, 3))
    ended, next_value = rng.random((9, 3)) < 0.3, rng.normal(size=3)
    blank = [torch.zeros(0)] * 3
    columns = (torch.tensor(column, dtype=torch.float64) for column in (value, reward, ended))
    found = ppo.Rollout(*blank, *columns).advantages(torch.tensor(next_value), 0.9, 0.7)
    for env in range(3):
        for start in range(9):
            expected, weight = 0.0, 1.0
            for t in range(start, 9):
                after = next_value[env] if t == 8 else value[t + 1, env]
                expected += weight * (reward[t, env] + 0.9 * (not ended[t, env]) * after - value[t, env])
                weight *= 0.9 * 0.7
                if ended[t, env]:
                    break
            assert found[start, env].item() == pytest.approx(expected)


def test_long_episodes_count_as_often_as_short_ones(ppo: Any, make: Any) -> None:
    """Env 0 could end twice while env 2 ends once; its reward is smaller."""
    pool = make(Counting, num_envs=3, autoreset_mode="same_step", episode_stats=True)
    agent = ppo.Agent(pool.spec.gymnasium_observation_space, pool.spec.gymnasium_action_space)
    returns = [sum(10 * t + env for t in range(1, 3 + env)) for env in range(3)]
    assert ppo.evaluate(pool, agent, 5) == pytest.approx(np.mean(returns))


@pytest.mark.parametrize(
    ("observations", "actions"),
    [
        (spaces.Discrete(3), spaces.Discrete(2)),
        (spaces.Box(0, 1, (2,)), spaces.MultiBinary(2)),
    ],
)
def test_spaces_that_it_does_not_take(observations: Any, actions: Any, ppo: Any) -> None:
    with pytest.raises(SystemExit, match="expected a Box, and Discrete or Box actions; found"):
        ppo.Agent(observations, actions)


@pytest.mark.parametrize(
    "actions", [spaces.Discrete(3, start=-1), spaces.Box(-0.1, 0.1, (2, 2)), spaces.Box(0, 1, (), np.float64)]
)
def test_actions_are_those_of_the_space(actions: Any, ppo: Any) -> None:
    agent = ppo.Agent(spaces.Box(0, 1, (2,)), actions)
    with torch.no_grad():
        policy = agent.act(torch.zeros(50, 2))
    for action in (policy.sample(), policy.mode):
        batch = agent.for_envs(action).astype(actions.dtype)
        assert batch.shape == (50, *actions.shape)
        assert all(actions.contains(np.asarray(row)) for row in batch)
