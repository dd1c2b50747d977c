"""Gymnasium's MountainCar, Pendulum and Acrobot as hooks that compile, each step as Gymnasium computes it.

Squares are products: Python's `x ** 2` is libm's pow, whose last bit is another one in a thousand.
"""

from __future__ import annotations

import sys
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from envpool_protocol import EnvPoolProtocol
from envpool_protocol.random import Random

sys.path.append(str(Path(__file__).resolve().parent.parent / "examples" / "compiled"))
from cart_pole import CartPole
from game_2048 import Game2048
from maze import Maze


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


class MountainCar(EnvPoolProtocol):
    """MountainCar-v0."""

    observation_space = spaces.Box(np.array([-1.2, -0.07], np.float32), np.array([0.6, 0.07], np.float32))
    action_space = spaces.Discrete(3)
    state_envpool = {"position": np.float64, "velocity": np.float64, "random": Random}

    def _reset_envpool(self) -> None:
        self.position = self.random.uniform(-0.6, -0.4)
        self.velocity = 0.0

    def _step_envpool(self, action: Any) -> None:
        velocity = self.velocity + ((action - 1) * 0.001 + cos(3.0 * self.position) * -0.0025)
        velocity = clip(velocity, -0.07, 0.07)
        self.position = clip(self.position + velocity, -1.2, 0.6)
        self.velocity = 0.0 if self.position == -1.2 and velocity < 0.0 else velocity

    def _make_obs_envpool(self, out: Any) -> None:
        out[0] = self.position
        out[1] = self.velocity

    def _done_envpool(self) -> bool:
        return self.position >= 0.5 and self.velocity >= 0.0

    def _reward_envpool(self) -> float:
        return -1.0


class Pendulum(EnvPoolProtocol):
    """Pendulum-v1. Gymnasium multiplies the torque, a float32, by numbers that are float32 for that."""

    observation_space = spaces.Box(-np.array([1, 1, 8], np.float32), np.array([1, 1, 8], np.float32))
    action_space = spaces.Box(-2.0, 2.0, (1,), np.float32)
    state_envpool = {
        "angle": np.float64,
        "speed": np.float64,
        "cost": np.float64,
        "random": Random,
    }

    def _reset_envpool(self) -> None:
        self.angle = self.random.uniform(-pi, pi)
        self.speed = self.random.uniform(-1.0, 1.0)
        self.cost = 0.0

    def _step_envpool(self, action: Any) -> None:
        torque = clip(float(action[0]), -2.0, 2.0)
        turned = (self.angle + pi) % (2.0 * pi) - pi
        effort = float(np.float32(float(np.float32(0.001)) * float(np.float32(torque * torque))))
        self.cost = turned * turned + 0.1 * (self.speed * self.speed) + effort
        speed = self.speed + (15.0 * sin(self.angle) + float(np.float32(3.0 * torque))) * 0.05
        self.speed = clip(speed, -8.0, 8.0)
        self.angle += self.speed * 0.05

    def _make_obs_envpool(self, out: Any) -> None:
        out[0] = cos(self.angle)
        out[1] = sin(self.angle)
        out[2] = self.speed

    def _done_envpool(self) -> bool:
        return False

    def _reward_envpool(self) -> float:
        return -self.cost


class Acrobot(EnvPoolProtocol):
    """Acrobot-v1, with the book's equations."""

    observation_space = spaces.Box(
        -np.array([1, 1, 1, 1, 4 * pi, 9 * pi], np.float32),
        np.array([1, 1, 1, 1, 4 * pi, 9 * pi], np.float32),
    )
    action_space = spaces.Discrete(3)
    state_envpool = {
        "angles": (np.float64, (2,)),
        "speeds": (np.float64, (2,)),
        "random": Random,
    }

    def _reset_envpool(self) -> None:
        for i in range(2):  # Gymnasium starts from float32
            self.angles[i] = np.float32(self.random.uniform(-0.1, 0.1))
            self.speeds[i] = np.float32(self.random.uniform(-0.1, 0.1))

    def _step_envpool(self, action: Any) -> None:
        torque = action - 1.0
        a, b, c, d = self.angles[0], self.angles[1], self.speeds[0], self.speeds[1]
        a1, b1, c1, d1 = self._slope(a, b, c, d, torque)
        a2, b2, c2, d2 = self._slope(a + 0.1 * a1, b + 0.1 * b1, c + 0.1 * c1, d + 0.1 * d1, torque)
        a3, b3, c3, d3 = self._slope(a + 0.1 * a2, b + 0.1 * b2, c + 0.1 * c2, d + 0.1 * d2, torque)
        a4, b4, c4, d4 = self._slope(a + 0.2 * a3, b + 0.2 * b3, c + 0.2 * c3, d + 0.2 * d3, torque)
        sixth = 0.2 / 6.0
        self.angles[0] = self._wrap(a + sixth * (a1 + 2 * a2 + 2 * a3 + a4))
        self.angles[1] = self._wrap(b + sixth * (b1 + 2 * b2 + 2 * b3 + b4))
        self.speeds[0] = clip(c + sixth * (c1 + 2 * c2 + 2 * c3 + c4), -4 * pi, 4 * pi)
        self.speeds[1] = clip(d + sixth * (d1 + 2 * d2 + 2 * d3 + d4), -9 * pi, 9 * pi)

    @staticmethod
    def _wrap(angle: float) -> float:
        while angle > pi:
            angle -= 2 * pi
        while angle < -pi:
            angle += 2 * pi
        return angle

    @staticmethod
    def _slope(a: float, b: float, c: float, d: float, torque: float) -> tuple[float, float, float, float]:
        g = 9.8
        inner = 0.25 + (1.25 + cos(b)) + 1.0 + 1.0
        outer = 0.25 + 0.5 * cos(b) + 1.0
        outer_pull = 0.5 * g * cos(a + b - pi / 2.0)
        inner_pull = (
            -0.5 * (d * d) * sin(b) - 2 * 0.5 * d * c * sin(b) + 1.5 * g * cos(a - pi / 2) + outer_pull
        )
        swing = (torque + outer / inner * inner_pull - 0.5 * (c * c) * sin(b) - outer_pull) / (
            0.25 + 1.0 - (outer * outer) / inner
        )
        return c, d, -(outer * swing + inner_pull) / inner, swing

    def _make_obs_envpool(self, out: Any) -> None:
        for i in range(2):
            out[2 * i] = cos(self.angles[i])
            out[2 * i + 1] = sin(self.angles[i])
            out[4 + i] = self.speeds[i]

    def _done_envpool(self) -> bool:
        return -cos(self.angles[0]) - cos(self.angles[1] + self.angles[0]) > 1.0

    def _reward_envpool(self) -> float:
        return 0.0 if self._done_envpool() else -1.0


class Draws(EnvPoolProtocol):
    """Observes draws of every kind, with arguments of many types; an episode is nine steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (14,), np.float64)
    action_space = spaces.Discrete(2)
    state_envpool = {
        "random": Random,
        "other": Random,
        "drawn": (np.float64, (14,)),
        "narrow": (np.float32, (2,)),
        "small": (np.uint8, (2,)),
        "deck": (np.int16, (5,)),
        "t": np.int64,
    }

    def _reset_envpool(self) -> None:
        self.t = 0
        self.narrow[0], self.narrow[1] = -0.1, 0.3
        self.small[0], self.small[1] = 3, 200
        self.random.permutation(self.deck)
        self._draw()

    def _step_envpool(self, action: Any) -> None:
        self.t += 1
        self._draw()

    def _draw(self) -> None:
        self.drawn[0] = self.random.uniform()
        self.drawn[1] = self.random.uniform(-5, high=3)
        self.drawn[2] = self.random.uniform(self.narrow[0], self.narrow[1])
        self.drawn[3] = self.random.normal()
        self.drawn[4] = self.random.normal(mean=self.narrow[1], std=self.t)
        self.drawn[5] = self.random.exponential()
        self.drawn[6] = self.random.exponential(self.small[1])
        self.drawn[7] = self.random.integers(-7, 8)
        self.drawn[8] = self.random.integers(self.small[0], self.small[1])
        self.drawn[9] = self.random.integers(-(2**62), 2**61 + self.t)
        self.drawn[10] = self.random.choice(self.small[1])
        self.drawn[11] = self.other.bits()
        self.other.shuffle(self.deck)
        self.drawn[12] = self.deck[0]
        self.drawn[13] = self.deck[4]

    def _make_obs_envpool(self) -> Any:
        return self.drawn

    def _done_envpool(self) -> bool:
        return self.t == 9

    def _reward_envpool(self) -> float:
        return self.drawn[0]


ENVS = (CartPole, Maze, Game2048, MountainCar, Pendulum, Acrobot, Draws)
