"""Thousands of chases at once, in torch alone: a batched env on the CPU or a GPU.

Each chaser accelerates as its action says and tries to reach a runner that moves at random. The env is a
`gymnasium.vector.VectorEnv`, and has the attributes and the five-tuple steps that ElegantRL expects:

    env = ChasingVecEnv(env_num=4096, device_id=-1)                 # -1: the CPU
    env = build_env(ChasingVecEnv, {"num_envs": 4096}, gpu_id=0)    # envpool_wrap.integrations.elegantrl's

A step never asks the device for a value, so on a GPU it only queues work. That is why an env that starts a
new episode is not looked for: all draw a start, and `torch.where` keeps it for those whose episode ended.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class ChasingVecEnv(VectorEnv):
    """`state`: position and velocity of runner and chaser, (env_num, 4 * dim); `action`: (env_num, dim).

    The reward is the distance gained, less 0.02 times the action's norm, which counts as 1 if it is less.
    An episode terminates when the distance is below `dim`, and is truncated after `max_step` steps. The step
    that ends it returns the first state of the next one, and its last in `info["final_obs"]`, where
    `info["_final_obs"]`.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, dim=2, env_num=4096, device_id=0, max_step=1024, seed=None):
        if device_id >= 0 and not torch.cuda.is_available():
            raise RuntimeError(f"device_id={device_id}: there is no CUDA device here; -1 is the CPU")
        self.device = torch.device("cpu" if device_id < 0 else f"cuda:{device_id}")
        self.dim = dim

        self.env_name = "ChasingVecEnv"
        self.env_num = self.num_envs = env_num
        self.max_step = max_step
        self.state_dim, self.action_dim, self.if_discrete = 4 * dim, dim, False
        self.target_return = 6.3

        self.single_observation_space = spaces.Box(-np.inf, np.inf, (4 * dim,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, env_num)
        self.action_space = batch_space(self.single_action_space, env_num)

        self.random = torch.Generator(self.device)
        if seed is None:
            self.random.seed()
        else:
            self.random.manual_seed(seed)
        self._start_all()

    def reset(self, *, seed=None, options=None):
        """Start a new episode in every env: `(state, info)`."""
        if seed is not None:
            self.random.manual_seed(seed)
        self._start_all()
        return self._state(), {}

    def step(self, action):
        """`(state, reward, terminal, truncate, info)`; reward float32 and flags bool, all (env_num,)."""
        if action.shape != (self.env_num, self.dim):
            raise ValueError(
                f"action: expected shape {(self.env_num, self.dim)}, found {tuple(action.shape)}"
            )
        before = self._distance()
        strength = action.norm(dim=1, keepdim=True).clamp(min=1)
        self.v1s = 0.75 * self.v1s + action / strength
        self.v0s = 0.5 * self.v0s + torch.rand(self.p0s.shape, generator=self.random, device=self.device)
        self.p1s = self.p1s + 0.01 * self.v1s
        self.p0s = self.p0s + 0.01 * self.v0s
        self.steps = self.steps + 1

        distance = self._distance()
        reward = before - distance - 0.02 * strength.squeeze(1)
        terminal = distance < self.dim
        truncate = (self.steps >= self.max_step) & ~terminal
        ended = terminal | truncate
        info = {"final_obs": self._state(), "_final_obs": ended}
        self._start(ended)
        return self._state(), reward, terminal, truncate, info

    def _start_all(self):
        self.p0s = self.v0s = self.p1s = self.v1s = torch.zeros(self.env_num, self.dim, device=self.device)
        self.steps = torch.zeros(self.env_num, dtype=torch.int64, device=self.device)
        self._start(torch.ones(self.env_num, dtype=torch.bool, device=self.device))

    def _start(self, chosen):
        """New episodes where `chosen`: runners around 0, chasers around -8, at rest."""
        draws = torch.randn(2, *self.p0s.shape, generator=self.random, device=self.device)
        rows = chosen.unsqueeze(1)
        self.p0s = torch.where(rows, draws[0], self.p0s)
        self.p1s = torch.where(rows, draws[1] - 8, self.p1s)
        self.v0s, self.v1s = self.v0s.masked_fill(rows, 0), self.v1s.masked_fill(rows, 0)
        self.steps = self.steps.masked_fill(chosen, 0)

    def _distance(self):
        return (self.p0s - self.p1s).norm(dim=1)

    def _state(self):
        return torch.cat((self.p0s, self.v0s, self.p1s, self.v1s), dim=1)


def main(steps=1000):
    """Chase straight on, and say how fast that was."""
    env = ChasingVecEnv(device_id=0 if torch.cuda.is_available() else -1, seed=0)
    state, _ = env.reset()
    caught = torch.zeros((), dtype=torch.int64, device=env.device)
    begin = time.perf_counter()
    for _ in range(steps):
        runner, _, chaser, _ = state.split(env.dim, dim=1)
        state, _, terminal, _, _ = env.step(torch.nn.functional.normalize(runner - chaser))
        caught += terminal.sum()
    total = caught.item()  # the first value that the host asks for: all steps are done when it comes
    rate = steps * env.num_envs / (time.perf_counter() - begin)
    print(f"{env.num_envs} envs on {env.device}: {rate:,.0f} steps/s, {total} runners caught")


if __name__ == "__main__":
    main()
