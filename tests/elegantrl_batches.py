"""Batches of tensors in ElegantRL's way, whose `step` returns 5, 4 or 3 values. They need torch."""

from __future__ import annotations

from typing import Any

import torch


class Batch:
    """Counts steps, with tensors; row i ends after i + 2 of them. The state is [step, action]."""

    state_dim, action_dim, if_discrete = 2, 1, False
    values = 5  # that step returns

    def __init__(self, env_num: int = 32, device_id: int = -1) -> None:
        self.env_num, self.device_id, self.device = env_num, device_id, torch.device("cpu")
        self.t, self.closed = torch.zeros(env_num), 0
        self.limits = torch.arange(env_num) + 2
        self.info: Any = {}

    def reset(self) -> Any:
        self.t = torch.zeros(self.env_num)
        state = torch.stack((self.t, self.t), 1)
        return (state, {"new": True}) if self.values == 5 else state

    def step(self, action: Any) -> Any:
        self.t = self.t + 1
        reward, done = 10 * self.t, self.t >= self.limits
        self.t = torch.where(done, 0.0, self.t)
        state = torch.stack((self.t, action[:, 0]), 1)
        ends = (done, torch.zeros_like(done)) if self.values == 5 else (done.to(torch.float32),)
        return (state, reward, *ends, self.info)[: self.values]

    def close(self) -> None:
        self.closed += 1


class BatchOf4(Batch):
    values = 4


class BatchOf3(Batch):
    values = 3
