"""CartPole in Ray actors: as a pool, and as Stable-Baselines3's VecEnv where that is installed.

python examples/ray_pool.py              needs: pip install 'envpool-wrapper[ray,sb3]'
"""

from __future__ import annotations

import importlib.util
from typing import Any

import gymnasium
import numpy as np

from envpool_wrap.integrations.ray import RayEnvPool, WrapperRayVecEnv

WORKERS, ENVS_PER_WORKER = 4, 2
NUM_ENVS = WORKERS * ENVS_PER_WORKER


def make_and_seed(seed: int) -> Any:
    """Env number `seed`, whose next reset draws from a generator with that seed."""
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))
    env.unwrapped.np_random = np.random.default_rng(seed)
    return env


def as_a_pool() -> None:
    """Asynchronous: whichever two workers are ready first."""
    with RayEnvPool(make_and_seed, WORKERS, ENVS_PER_WORKER, batch_size=2 * ENVS_PER_WORKER) as pool:
        rng = np.random.default_rng(0)
        pool.async_reset()
        lengths: list[int] = []
        while len(lengths) < 20:
            _, _, terminated, truncated, info = pool.recv()
            ended = terminated | truncated
            lengths += info["elapsed_step"][ended].tolist()
            pool.send(rng.integers(0, 2, len(ended)), info["env_id"])
        print(f"{pool!r}\n20 random episodes of {np.mean(lengths):.1f} steps")


def as_a_vec_env() -> None:
    """All envs at once, in the order of workers."""
    vec_env = WrapperRayVecEnv(make_and_seed, WORKERS, ENVS_PER_WORKER)
    print(vec_env.reset())
    _, rewards, dones, infos = vec_env.step([vec_env.action_space.sample() for _ in range(NUM_ENVS)])
    print(rewards, dones, infos[0])
    vec_env.close()


if __name__ == "__main__":
    as_a_pool()
    if importlib.util.find_spec("stable_baselines3"):
        as_a_vec_env()
