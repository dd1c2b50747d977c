"""Stable-Baselines3 and sb3-contrib train on pools. Needs the extra `sb3`: `make test-all`."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import envpool_wrap
from envpool_protocol.errors import EnvError

with warnings.catch_warnings():  # what these libraries say while they are imported is not ours
    warnings.simplefilter("ignore")
    pytest.importorskip("sb3_contrib")
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import DQN, PPO
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    from envpool_wrap.integrations.sb3 import SB3VecEnv

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_torch_thread")]
PPO_STEPS = 98_304
# Small networks and batches, on one thread: these tests are about what reaches them.
QUICK: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "seed": 0, "device": "cpu"}


class Doors(gymnasium.Env[Any, Any]):
    """Of four doors one is locked, another one after each step. Whoever tries it is told so, loudly."""

    observation_space = spaces.Box(0, 1, (4,), np.float32)
    action_space = spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.t = 0
        return self._lock(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if action == self.locked:
            raise ValueError(f"door {action} is locked")
        self.t += 1
        return self._lock(), float(action == 0), self.t == 5, False, {}

    def _lock(self) -> Any:
        self.locked = int(self.np_random.integers(4))
        return np.eye(4, dtype=np.float32)[self.locked]

    def action_masks(self) -> Any:
        return np.arange(4) != self.locked


class Switches(gymnasium.Env[Any, Any]):
    """Bits are actions, and observations, too."""

    observation_space = spaces.MultiBinary(3)
    action_space = spaces.MultiBinary(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        return np.zeros(3, np.int8), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action.dtype == np.int8
        return action, float(action.sum()), False, bool(action.all()), {}


@pytest.fixture
def cartpole(registry: None) -> str:
    return envpool_wrap.register("CartPole-v1")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ppo_solves_cartpole(cartpole: str) -> None:
    env = SB3VecEnv(cartpole, num_envs=8, backend="process")
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98}
    settings |= {
        "gae_lambda": 0.8,
        "learning_rate": lambda left: 1e-3 * left,
        "clip_range": lambda left: 0.2 * left,
    }
    model = PPO("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(PPO_STEPS)
    env.close()
    judge = VecMonitor(SB3VecEnv(cartpole, num_envs=8, backend="inline", seed=10_000))
    mean, _ = evaluate_policy(model, judge, n_eval_episodes=100)
    judge.close()
    assert mean >= 475


def test_training_on_a_pool_is_training_on_dummy_vec_env(cartpole: str) -> None:
    ours = SB3VecEnv(cartpole, num_envs=4, backend="process")
    theirs = DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 4)
    models = [PPO("MlpPolicy", env, **QUICK).learn(256) for env in (ours, theirs)]
    weights = [[value.tolist() for value in model.policy.state_dict().values()] for model in models]
    assert weights[0] == weights[1]
    ours.close()


def test_an_off_policy_algorithm_trains(cartpole: str) -> None:
    env = SB3VecEnv(cartpole, num_envs=2, backend="inline", max_episode_steps=8)
    model = DQN("MlpPolicy", env, learning_starts=32, batch_size=8, buffer_size=400, seed=0, device="cpu")
    model.learn(200)
    assert model.replay_buffer.timeouts.any()
    env.close()


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_masks_keep_invalid_actions_away(backend: str) -> None:
    env = SB3VecEnv([Doors] * 2, backend=backend)
    model = MaskablePPO("MlpPolicy", env, **QUICK).learn(320)
    obs = env.reset()
    masks = np.stack(env.env_method("action_masks"))
    assert np.array_equal(masks, obs == 0)
    assert masks[[0, 1], model.predict(obs, action_masks=masks)[0]].all()
    with pytest.raises(EnvError, match="is locked"):
        PPO("MlpPolicy", env, **QUICK).learn(320)
    env.close()


def test_masks_are_asked_of_envs_that_have_none() -> None:
    env = SB3VecEnv([Switches], backend="inline")
    with pytest.raises(ValueError, match="does not support action masking"):
        MaskablePPO("MlpPolicy", env, **QUICK).learn(32)
    env.close()


def test_policies_that_give_bits_as_floats() -> None:
    env = SB3VecEnv([Switches] * 2, backend="inline")
    PPO("MlpPolicy", env, **QUICK).learn(64)
    with pytest.raises(ValueError, match="float"):
        env.step(np.full((2, 3), 0.5, np.float32))
    env.close()
