"""Envs that drop out of the batch when they are finished, and envs that start again: rlstructures' two ways.

pip install 'envpool-wrapper[rlstructures]'        then        python running_envs.py
"""

import numpy as np
import torch
from gymnasium import spaces

from envpool_wrap.integrations.rlstructures import DictTensor, GymEnv, GymInfEnv


class Drift:
    """An env of the old kind: four values from step, `seed`, parameters for reset, no observation space.

    A point starts within a third of `limit`, and is pushed to the left or right until it is beyond it.
    """

    def __init__(self):
        self.action_space = spaces.Discrete(2)
        self.limit = 1.0

    def seed(self, seed=None):
        self.rng = np.random.default_rng(seed)

    def reset(self, env_info=None):
        self.limit = (env_info or {}).get("limit", self.limit)
        self.x = self.rng.uniform(-1.0, 1.0) * self.limit / 3
        return {"x": self.x, "limit": self.limit}

    def step(self, action):
        self.x += self.rng.normal(0.3 if action else -0.3, 0.1)
        out = abs(self.x) > self.limit
        return {"x": self.x, "limit": self.limit}, -float(out), out, {}


def towards_the_middle(obs):
    """The policy: now and then it errs."""
    right = (obs["x"].squeeze(1) < 0) ^ (torch.rand(obs.n_elems()) < 0.4)
    return DictTensor({"action": right.long()})


def until_all_are_finished():
    """How long each episode was, with a limit of its own for each env."""
    with GymEnv([Drift() for _ in range(4)], seed=80) as env:
        lengths = torch.zeros(env.n_envs(), dtype=torch.int64)
        obs, running = env.reset({"limit": [0.5, 1.0, 1.5, 2.0]})
        while len(running):
            (_, acted), (obs, running) = env.step(towards_the_middle(obs))
            lengths[acted] += 1
        return lengths


def without_an_end(steps):
    """How many episodes ended in so many steps of each env, which worker processes take."""
    with GymInfEnv([Drift] * 8, seed=80, backend="process") as env:
        ended = torch.zeros(env.n_envs(), dtype=torch.int64)
        obs, _ = env.reset()
        for _ in range(steps):
            (last, _), (obs, _) = env.step(towards_the_middle(obs))
            ended += last["done"]
        return ended


if __name__ == "__main__":
    torch.manual_seed(0)
    print("steps until all are finished:", *until_all_are_finished().tolist())
    print("episodes in 200 steps:", *without_an_end(200).tolist())
