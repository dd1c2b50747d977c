"""Batched simulators, small enough to be followed by hand, in each library; and bad ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv


class Points(VectorEnv):
    """Row i ends after 2 + i steps and starts again in that step. obs [x, t], x += action, reward t * action.

    Its buffers are written again in each step, as in simulators that own their memory.
    """

    metadata: ClassVar = {"autoreset_mode": AutoresetMode.SAME_STEP}
    single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    single_action_space = gymnasium.spaces.Box(-np.inf, np.inf, (), np.float32)

    def __init__(self, xp: Any = None, num_envs: int = 3, device: Any = None) -> None:
        import array_api_compat.numpy

        self.xp, self.num_envs, self.device = xp or array_api_compat.numpy, num_envs, device
        self.actions: list[Any] = []
        self.seeds: list[Any] = []
        self.options: list[Any] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.seeds.append(seed)
        self.options.append(options)
        xp, rows, where = self.xp, self.num_envs, {"device": self.device}
        self.length = xp.arange(rows, dtype=xp.int32, **where) + 2
        self.t = xp.zeros(rows, dtype=xp.int32, **where)
        self.obs = xp.zeros((rows, 2), dtype=xp.float32, **where)
        self.reward = xp.zeros(rows, dtype=xp.float32, **where)
        self.over = xp.zeros(rows, dtype=xp.bool, **where)
        self.cut = xp.zeros(rows, dtype=xp.bool, **where)
        self.final = xp.zeros((rows, 2), dtype=xp.float32, **where)
        return self.obs, {}

    def step(self, action: Any) -> Any:
        xp = self.xp
        self.actions.append(action)
        t = self.t + 1
        self.reward[...] = xp.astype(t, xp.float32) * action
        self.over[...] = t >= self.length
        moved = self.obs + xp.stack([action, xp.ones_like(action)], axis=1)
        self.final[...] = moved
        self.obs[...] = moved * xp.astype(~self.over, xp.float32)[:, None]
        self.t = t * xp.astype(~self.over, xp.int32)
        info = {"final_obs": self.final, "_final_obs": self.over, "name": "points"}
        return self.obs, self.reward, self.over, self.cut, info


class JaxPoints(Points):
    """The same, jitted, over arrays that nobody can write."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        import jax
        import jax.numpy

        self.xp = jax.numpy
        super().reset(seed=seed, options=options)
        self.state = (self.obs, self.t)
        self.advance = jax.jit(self._advance)
        return self.obs, {}

    def _advance(self, state: Any, action: Any) -> Any:
        obs, t = state
        xp, t = self.xp, t + 1
        over = t >= self.length
        moved = obs + xp.stack([action, xp.ones_like(action)], axis=1)
        going = (~over)[:, None]
        info = {"final_obs": moved, "_final_obs": over}
        return (moved * going, t * ~over), (moved * going, t * action, over, xp.zeros_like(over), info)

    def step(self, action: Any) -> Any:
        self.actions.append(action)
        self.state, answer = self.advance(self.state, action)
        self.obs = answer[0]
        return answer


class Foreign:
    """An array that only holds memory, as Warp's do: DLPack and no arithmetic."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class ForeignPoints(Points):
    """Points over such arrays."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        obs, info = super().reset(seed=seed, options=options)
        return Foreign(obs), info

    def step(self, action: Any) -> Any:
        *arrays, info = super().step(action)
        finals = {key: Foreign(info[key]) for key in ("final_obs", "_final_obs")}
        return (*map(Foreign, arrays), {**info, **finals})


class Nested(VectorEnv):
    """Dict observations, Dict actions, rows that wait for a reset: those of `reset_mask`, or all."""

    metadata: ClassVar = {"autoreset_mode": "disabled"}
    single_observation_space = gymnasium.spaces.Dict(
        {"x": gymnasium.spaces.Box(-9, 9, (2,), np.float64), "n": gymnasium.spaces.Discrete(5)}
    )
    single_action_space = gymnasium.spaces.Dict(
        {"go": gymnasium.spaces.Discrete(2), "push": gymnasium.spaces.Box(-1, 1, (2,), np.float32)}
    )

    def __init__(self, num_envs: int = 4) -> None:
        self.num_envs = num_envs

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self.x, self.n = np.zeros((self.num_envs, 2)), np.zeros(self.num_envs, np.int64)
        else:
            assert type(mask) is np.ndarray
            self.x[mask], self.n[mask] = 0, 0
        return {"x": self.x, "n": self.n}, {}

    def step(self, action: Any) -> Any:
        assert set(action) == {"go", "push"}
        self.x, self.n = self.x + action["push"], self.n + action["go"]
        over = self.n >= 3
        return {"x": self.x, "n": self.n}, self.n * 1.0, over, np.zeros_like(over), {}


class FakeVecTask:
    """What Isaac Gym's VecTask promises: buffers written again, int64 dones, resets in the step after.

    Row i ends when x reaches i + 1, or after `max_episode_length` - 1 steps; reward 1 + x.
    """

    max_episode_length = 5

    def __init__(
        self,
        num_envs: int = 4,
        device: str = "cpu",
        num_obs: int = 2,
        num_actions: int = 1,
        spaces: Any = None,
    ) -> None:
        import torch

        self.torch, self.num_envs, self.device, self.rl_device = torch, num_envs, device, device
        self.num_obs, self.num_actions, self.num_states = num_obs, num_actions, 0
        if spaces is not None:  # gymnasium's or old gym's
            self.observation_space = spaces.Box(-np.inf, np.inf, (num_obs,), np.float32)
            self.action_space = spaces.Box(-1.0, 1.0, (num_actions,), np.float32)
        self.goal = torch.arange(1.0, num_envs + 1, device=device)
        self.obs_buf = torch.zeros(num_envs, num_obs, device=device)
        self.rew_buf = torch.zeros(num_envs, device=device)
        self.reset_buf = torch.ones(num_envs, dtype=torch.int64, device=device)
        self.progress_buf = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self.extras: dict[str, Any] = {}
        self.closed = False

    def reset(self) -> Any:
        return {"obs": self.obs_buf}

    def step(self, actions: Any) -> Any:
        torch, x = self.torch, self.obs_buf[:, 0]
        x += actions[:, 0]
        self.progress_buf += 1
        going = 1 - self.reset_buf
        x *= going
        self.progress_buf *= going
        self.obs_buf[:, 1] = self.progress_buf
        self.rew_buf[:] = 1 + x
        late = self.progress_buf >= self.max_episode_length - 1
        self.reset_buf[:] = (x >= self.goal) | late
        self.extras["time_outs"] = late & (self.reset_buf != 0)
        obs = {"obs": self.obs_buf}
        if self.num_states:
            obs["states"] = torch.flip(self.obs_buf, (1,))
        return obs, self.rew_buf, self.reset_buf, self.extras

    def close(self) -> None:
        self.closed = True


def torch_points() -> Points:
    """Points in torch."""
    import array_api_compat.torch

    return Points(array_api_compat.torch)


SIMULATORS: dict[str, Callable[[], Points]] = {"numpy": Points, "torch": torch_points, "jax": JaxPoints}
ACTION = np.array([1, 2, 3], np.float32)


def heavy(*values: Any) -> Any:
    """Parameters of a test that needs torch or JAX."""
    return pytest.param(*values, marks=pytest.mark.integration)


class OnAnotherDevice(Foreign):
    """It says that it is on a GPU, and must not be read."""

    def __dlpack_device__(self) -> Any:
        return 2, 1

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the host waited for it")


def address(array: Any) -> int:
    """Of the first element, in whichever library."""
    if hasattr(array, "data_ptr"):
        return int(array.data_ptr())
    if hasattr(array, "unsafe_buffer_pointer"):
        return int(array.unsafe_buffer_pointer())
    return int(array.ctypes.data)


def lists(*arrays: Any) -> list[Any]:
    """The values of arrays of any library."""
    return [array.tolist() for array in arrays]
