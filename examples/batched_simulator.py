"""A simulator of your own, batched and on the GPU where there is one, behind a pool.

4,096 pendulums swing up in torch; the pool counts their steps and gives them EnvPool's API, and nothing is
copied or waited for until the last line prints.

    python examples/batched_simulator.py [rows]
"""

from __future__ import annotations

import sys
import time
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

import envpool_wrap as envpool
from envpool_wrap.integrations.batched import register_batched


class Pendulums(VectorEnv):
    """Rows of (cos, sin, speed). An episode is `limit` steps, and a row is reset in the step that ends it."""

    metadata: ClassVar = {"autoreset_mode": AutoresetMode.SAME_STEP}
    single_observation_space = gymnasium.spaces.Box(-8, 8, (3,), np.float32)
    single_action_space = gymnasium.spaces.Box(-2, 2, (), np.float32)

    def __init__(self, num_envs: int, device: str = "cpu", limit: int = 200) -> None:
        self.num_envs, self.limit = num_envs, limit
        self.device = torch.device(device)
        self.random = torch.Generator(device)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.random.manual_seed(seed)
        self.angle, self.speed = self.start()
        self.t = torch.randint(0, self.limit, (self.num_envs,), generator=self.random, device=self.device)
        return self.observe(), {}

    def step(self, torque: Any) -> Any:
        torque = torque.clamp(-2, 2)
        turned = torch.remainder(self.angle + torch.pi, 2 * torch.pi) - torch.pi
        reward = -(turned**2 + 0.1 * self.speed**2 + 0.001 * torque**2)
        self.speed = (self.speed + 0.05 * (15 * self.angle.sin() + 3 * torque)).clamp(-8, 8)
        self.angle = self.angle + 0.05 * self.speed
        self.t = self.t + 1
        info = {"final_obs": self.observe()}
        over = self.t >= self.limit
        angle, speed = self.start()
        self.angle, self.speed = torch.where(over, angle, self.angle), torch.where(over, speed, self.speed)
        self.t = torch.where(over, 0, self.t)
        return self.observe(), reward, torch.zeros_like(over), over, info | {"_final_obs": over}

    def start(self) -> Any:
        drawn = torch.rand(2, self.num_envs, generator=self.random, device=self.device) * 2 - 1
        return drawn[0] * torch.pi, drawn[1]

    def observe(self) -> Any:
        return torch.stack([self.angle.cos(), self.angle.sin(), self.speed], dim=1)


def swing_up(obs: Any) -> Any:
    """Push along until there is energy enough to stand, then hold."""
    cos, sin, speed = obs.unbind(1)
    energy = speed**2 / 2 + 15 * cos
    return torch.where(cos > 0.9, -8 * sin - 2 * speed, torch.sign(speed) * (15 - energy))


if __name__ == "__main__":
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    register_batched("Pendulums", Pendulums)
    with envpool.make("Pendulums", env_type="gym", num_envs=rows, device=device, seed=0) as pool:
        obs, info = pool.reset()
        total, steps, begun = torch.zeros(rows, device=device), 600, time.perf_counter()
        for step in range(steps):
            obs, reward, terminated, truncated, info = pool.step(swing_up(obs))
            total += reward * (step >= steps / 2)
        mean = total.mean().item() / (steps / 2)  # the first and only wait for the device
        seconds = time.perf_counter() - begun
        print(f"{pool}: {rows * steps / seconds:,.0f} env-steps/s, mean reward {mean:.2f}")
        print("up on average" if mean > -4 else "not up")
