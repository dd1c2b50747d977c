"""A batch of envs as ElegantRL has it, all in one object with tensors on a device, as a VectorEnv."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envpool_protocol.errors import ActionError, ProtocolError
from envpool_wrap.imports import needs
from envpool_wrap.integrations.elegantrl_args import Dims, size_of

with needs("elegantrl"):
    import torch

    from envpool_wrap.integrations.devices import known_device


def from_elegantrl(env: Any) -> Any:
    """A batch of envs as ElegantRL has it, as a `gymnasium.vector.VectorEnv` of tensors.

    Args:
        env: has `num_envs` (or `env_num`), `state_dim`, `action_dim`, `if_discrete`, `device`, and methods

            - `reset() -> state` or `(state, info)`
            - `step(action) -> (state, reward, done[, info])` or `(state, reward, terminal, truncate, info)`

            with tensors of `num_envs` rows; the step that ends an episode resets the env. Flags are true
            where they are not 0, whatever their dtype. A `done` is truncated where `info["time_outs"]`, or
            `info["truncate"]`, is, else terminated; `info` may be None. A `VectorEnv` is returned as it is.

    Returns:
        Its tensors are those of `env`, on its device, and the host reads none of their values. A seed goes to
        `reset(seed=...)` where its signature has that, else to `seed(...)`, else nowhere. Actions are passed
        on unscaled.

    Raises:
        ProtocolError: something is missing of the above.
    """
    return env if isinstance(env, VectorEnv) else ElegantRLBatch(env)


class ElegantRLBatch(VectorEnv[Any, Any, Any]):
    """See `from_elegantrl`.

    Attributes:
        env: what it was made of.
        device: where the tensors are.
        env_name, max_step: as the env says; the name of its class, and None.
    """

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # type: ignore[misc]

    def __init__(self, env: Any) -> None:
        name = type(env).__qualname__
        missing = [one for one in ("reset", "step", "device") if getattr(env, one, None) is None]
        if missing:
            raise ProtocolError(
                f"{name} has no {', '.join(missing)}: expected a batch of envs in ElegantRL's way"
            )
        self.env = env
        self.num_envs = size_of(env)
        self.single_observation_space, self.single_action_space = Dims.told(env, {}).spaces()
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.device = known_device(env.device)
        self.env_name = getattr(env, "env_name", type(env).__name__)
        self.max_step = getattr(env, "max_step", None)
        self._taken = inspect.signature(env.reset).parameters

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        """Start new episodes: `(state, info)`.

        Raises:
            ActionError: options, and the env's `reset` takes none.
            ProtocolError: what the env returns is not as `from_elegantrl` says.
        """
        if options and "options" not in self._taken:
            raise ActionError(f"{self.env_name}: reset takes no `options`")
        given = {"seed": seed, "options": options}
        if seed is not None and "seed" not in self._taken and callable(getattr(self.env, "seed", None)):
            self.env.seed(seed)
        answer = self.env.reset(**{key: value for key, value in given.items() if key in self._taken})
        state, info = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        return self._checked("reset", "state", state, self.observation_space.shape), dict(info or {})

    def step(self, actions: Any) -> Any:
        """Step every env: `(state, reward, terminated, truncated, info)`.

        Raises:
            ActionError: wrong shape, kind of dtype or device, or actions that require grad.
            ProtocolError: what the env returns is not as `from_elegantrl` says.
        """
        discrete = self.single_action_space.shape == ()
        checked_actions(actions, self.action_space.shape, discrete, self.device)
        answer = self.env.step(actions)
        if not isinstance(answer, tuple) or len(answer) not in (3, 4, 5):
            found = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
            raise ProtocolError(f"{self.env_name}: step returned {found}; expected a tuple of 3, 4 or 5")
        state, reward, done, *rest = answer
        info = dict((rest[-1] if rest else None) or {})
        rows = (self.num_envs,)
        self._checked("step", "state", state, self.observation_space.shape)
        self._checked("step", "reward", reward, rows)
        done = self._checked("step", "done", done, rows) != 0
        if len(answer) == 5:
            return state, reward, done, self._checked("step", "truncate", rest[0], rows) != 0, info
        late = info.get("time_outs", info.get("truncate"))
        if late is None:
            return state, reward, done, torch.zeros_like(done), info
        late = self._checked("step", "info of time-outs", late, rows) != 0
        return state, reward, done & ~late, done & late, info

    def _checked(self, method: str, what: str, value: Any, shape: tuple[int, ...] | None) -> Any:
        if not isinstance(value, torch.Tensor) or value.shape != shape or value.device != self.device:
            is_tensor = isinstance(value, torch.Tensor)
            found = f"{tuple(value.shape)} on {value.device}" if is_tensor else f"a {type(value).__name__}"
            raise ProtocolError(
                f"{self.env_name}: {method} returned {what}: {found}; expected a tensor {shape} on "
                f"{self.device}"
            )
        return value

    def close_extras(self, **kwargs: Any) -> None:
        close = getattr(self.env, "close", None)
        if callable(close):
            close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.env_name}, num_envs={self.num_envs}, device={self.device})"


def checked_actions(actions: Any, shape: Any, discrete: bool, device: Any) -> Any:
    """The actions, if they are a tensor as expected.

    Raises:
        ActionError: they are not.
    """
    if not isinstance(actions, torch.Tensor):
        raise ActionError(f"actions: expected a tensor on {device}, found a {type(actions).__name__}")
    if actions.shape != shape:
        raise ActionError(f"actions: expected shape {tuple(shape)}, found {tuple(actions.shape)}")
    if actions.device != device:
        raise ActionError(f"actions are on {actions.device}, the envs on {device}: actions.to(env.device)")
    if actions.requires_grad:
        raise ActionError("actions require grad, which no env can give: actions.detach(), or torch.no_grad()")
    if discrete and actions.is_floating_point():
        raise ActionError(f"actions: {actions.dtype} for envs with discrete actions; expected ints")
    return actions
