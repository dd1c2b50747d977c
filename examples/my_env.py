"""A first env: five hooks, old gym spaces, random observations. Run this file once to generate its module.

python my_env.py        then        python use_my_env.py
"""

import gym
import numpy as np

from envpool_protocol.envpool_protocol import EnvPoolProtocol
from envpool_protocol.manager import CppWrapperGenerator, EnvManager


class MyEnv(EnvPoolProtocol, gym.Env):
    """Observes noise; the reward is higher for small actions; an episode takes 200 steps."""

    def __init__(self, envid):
        self.observation_space = gym.spaces.Box(low=-1.0, high=1.0, shape=(3,))
        self.action_space = gym.spaces.Box(low=-1.0, high=1.0, shape=(1,))
        self.steps = 0
        self.effort = 0.0

    def _reset_envpool(self):
        self.steps = 0

    def _step_envpool(self, action):
        self.steps += 1
        self.effort = abs(float(action[0]))

    def _make_obs_envpool(self):
        return self.np_random.uniform(-1.0, 1.0, 3).astype(np.float32)

    def _done_envpool(self):
        return self.steps >= 200

    def _reward_envpool(self):
        return 1.0 - self.effort


if __name__ == "__main__":
    EnvManager.register_env(MyEnv)
    print(CppWrapperGenerator.generate_envpool_wrap(MyEnv))
