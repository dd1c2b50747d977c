"""Gymnasium's CartPole-v1 as hooks that compile. Run this file to balance the pole for a while, interpreted.

Give the pool `max_episode_steps=500`, as Gymnasium does.
"""

from math import cos, pi, sin

import numpy as np
from gymnasium.spaces import Box, Discrete

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.random import Random

FARTHEST = 2.4
STEEPEST = 12 * 2 * pi / 360
BOUNDS = np.array([2 * FARTHEST, np.inf, 2 * STEEPEST, np.inf], np.float32)


class CartPole(EnvPoolProtocol):
    """A cart is pushed left (0) or right (1) so that the pole on it stays up; each step is worth 1."""

    observation_space = Box(-BOUNDS, BOUNDS, dtype=np.float32)
    action_space = Discrete(2)
    state_envpool = {
        "x": np.float64,
        "speed": np.float64,
        "angle": np.float64,
        "spin": np.float64,
        "random": Random,
    }

    gravity = 9.8
    pole_mass = 0.1
    total_mass = 1.1
    half_length = 0.5
    push = 10.0
    dt = 0.02  # seconds per step

    def _reset_envpool(self):
        self.x = self.random.uniform(-0.05, 0.05)
        self.speed = self.random.uniform(-0.05, 0.05)
        self.angle = self.random.uniform(-0.05, 0.05)
        self.spin = self.random.uniform(-0.05, 0.05)

    def _step_envpool(self, action):
        force = self.push if action == 1 else -self.push
        up, aside = cos(self.angle), sin(self.angle)
        moment = self.pole_mass * self.half_length
        pushed = (force + moment * (self.spin * self.spin) * aside) / self.total_mass
        spun = (self.gravity * aside - up * pushed) / (
            self.half_length * (4.0 / 3.0 - self.pole_mass * (up * up) / self.total_mass)
        )
        pushed -= moment * spun * up / self.total_mass
        self.x += self.dt * self.speed
        self.speed += self.dt * pushed
        self.angle += self.dt * self.spin
        self.spin += self.dt * spun

    def _make_obs_envpool(self, out):
        out[0] = self.x
        out[1] = self.speed
        out[2] = self.angle
        out[3] = self.spin

    def _done_envpool(self):
        return abs(self.x) > FARTHEST or abs(self.angle) > STEEPEST

    def _reward_envpool(self):
        return 1.0


if __name__ == "__main__":
    env, steps = CartPole(0), 0
    env._seed_envpool(7)
    env._reset_envpool()
    while not env._done_envpool() and steps < 500:
        env._step_envpool(int(env.angle + 0.5 * env.spin > 0))
        steps += 1
    print(f"balanced for {steps} steps; now at {env.x:.2f} m")
