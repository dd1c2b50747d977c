"""`send` and `recv` over a simulator that steps all its rows in one call: EnvPool's API without workers."""

from __future__ import annotations

import threading
import time
from collections import namedtuple
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
)
from envpool_wrap.batched.arrays import on_host
from envpool_wrap.batched.simulator import Simulator
from envpool_wrap.config import seeds_of

_ANOTHER_THREAD = "another thread is inside the pool; use it from one at a time"


class BatchedSpec(NamedTuple):
    """Settings and single-env spaces of a BatchedPool."""

    config: Any
    observation_space: Any
    action_space: Any
    gymnasium_observation_space: Any
    gymnasium_action_space: Any


class BatchedPool:
    """A `gymnasium.vector.VectorEnv` as a synchronous pool with EnvPool's gym API.

    `reset() -> (obs, info)` and `step(action) -> (obs, reward, terminated, truncated, info)`. Arrays are on
    the simulator's device and have one row per env, in order. `reward`, `terminated`, `truncated` (bool) and
    `info["elapsed_step"]` (int32) have shape (num_envs,) and are new in each step; `info["env_id"]` is one
    array for the pool's life. The rest of `info` is the simulator's, `final_obs` included if it has that.

    Without `copy`, an observation is the simulator's own memory, valid until its next step or reset.

    Attributes:
        venv: the simulator.
        num_envs: its rows.
        observation_space, action_space: of one row; so are those with `single_` in front.
        metadata: the simulator's, with `autoreset_mode` as Gymnasium's member.
        spec: settings and spaces, see BatchedSpec.
    """

    def __init__(
        self,
        venv: Any,
        *,
        array: str = "native",
        autoreset_mode: Any = None,
        copy: bool = False,
        seed: Any = None,
    ) -> None:
        """Take a simulator.

        Args:
            venv: a `gymnasium.vector.VectorEnv` whose arrays have `__dlpack__`, on any device.
            array: the library whose arrays the pool returns: `"native"` (the simulator's own), `"torch"`,
                `"jax"`, `"numpy"` or `"cupy"`, in the same memory. Actions may be of any.
            autoreset_mode: what the simulator does with a row that ended, if its metadata does not say it
                (or says it wrongly): `"next_step"`, `"same_step"`, `"disabled"`, or Gymnasium's member.
            copy: whether observations and arrays in `info` are copied, on the device.
            seed: for the first `reset` that has none of its own: see there.

        Raises:
            ConfigError: a bad setting.
            SpecError: no VectorEnv, a space that no array holds, or no autoreset mode.
            ImportError: the library of `array` is not installed.
        """
        if not isinstance(copy, bool):
            raise ConfigError(f"copy={copy!r}: expected True or False")
        self._simulator = Simulator(venv, array, autoreset_mode, copy)
        mode = self._simulator.mode
        self.venv = venv
        self.num_envs = self._simulator.num_envs
        self.single_observation_space = self.observation_space = venv.single_observation_space
        self.single_action_space = self.action_space = venv.single_action_space
        published = getattr(venv, "metadata", None) or {}
        self.metadata = {**published, "autoreset_mode": AutoresetMode[mode.upper()]}
        self.render_mode = getattr(venv, "render_mode", None)
        self._settings: dict[str, Any] = {
            "num_envs": self.num_envs,
            "batch_size": self.num_envs,
            "array": array,
        }
        self._seed = self._checked_seed(seed)
        self._settings |= {"autoreset_mode": mode, "copy": copy, "seed": self._seed}
        self.spec: Any = None
        self._tell({})
        self._all_env_ids = np.arange(self.num_envs, dtype=np.int32)
        self._pending: tuple[Any, ...] | None = None
        self._inside = threading.Lock()
        self._closed = False
        self._counts = {"batches": 0, "resets": 0}
        self._seconds = 0.0

    def _tell(self, settings: Mapping[str, Any]) -> None:
        """Add to what `config` and `spec` say."""
        self._settings = {**settings, **self._settings}
        config = namedtuple("Config", self._settings, rename=True)(*self._settings.values())
        spaces = self.single_observation_space, self.single_action_space
        self.spec = BatchedSpec(config, *spaces, *spaces)

    # ---- sending and receiving ----

    def send(self, action: Any, env_id: Any = None) -> None:
        """Send an action to every env; the simulator runs in `recv`.

        Args:
            action: shape (num_envs, *action shape), nested as the space is, of any library with `__dlpack__`,
                on the simulator's device. Kind and shape are checked, not values.
            env_id: nothing, or all envs in order, such as `info["env_id"]` itself.

        Raises:
            ActionError: another length, shape, kind, nesting or device; a tensor that requires grad; other
                env ids; or no reset before. Nothing was sent.
            PendingCallError: a batch was sent and not received.
        """
        self._refuse_pending()
        if env_id is not None:
            self._check_env_id(env_id)
        self._pending = (self._simulator.step, self._simulator.taken(action))

    def recv(self, reset: bool = False, return_info: bool = True) -> Any:
        """Run what was sent, and return it in the shape of `step`, or of `reset` with `reset=True`.

        Args:
            reset: which shape.
            return_info: nothing; EnvPool's `recv` has it.

        Raises:
            NothingPendingError: nothing was sent.
            SpecError: what the simulator returned is not what its spaces say, or on several devices.
            Exception: whatever the simulator raises.
        """
        self._refuse_closed()
        if not self._inside.acquire(blocking=False):
            raise PendingCallError(_ANOTHER_THREAD)
        start = time.perf_counter()
        try:
            if self._pending is None:
                raise NothingPendingError("recv() with nothing in flight; send() or async_reset() first")
            (run, *arguments), self._pending = self._pending, None
            obs, reward, terminated, truncated, info = run(*arguments)
            self._counts["batches"] += 1
            return self._pack(obs, reward, terminated, truncated, info, reset)
        finally:
            self._seconds += time.perf_counter() - start
            self._inside.release()

    def step(self, action: Any, env_id: Any = None) -> Any:
        """`send` and `recv` in one call. Raises what they raise."""
        self.send(action, env_id)
        return self.recv()

    def reset(self, env_id: Any = None, *, seed: Any = None, options: Any = None) -> Any:
        """Reset every env.

        Args:
            env_id: nothing, or all envs in order.
            seed: an int, or a list of num_envs ints for a simulator that takes one, handed on as it is; None:
                no new seed (the first reset uses the pool's).
            options: a dict for the simulator. `options["reset_mask"]`, bool of shape (num_envs,) on its
                device, is for those that reset only some rows, as Gymnasium's do: all rows come back.

        Raises:
            ActionError: other env ids, options that are no dict, or a mask of another shape, dtype or device.
            ConfigError: no seed.
            PendingCallError: a batch was sent and not received.
        """
        self._refuse_pending()
        if env_id is not None:
            self._check_env_id(env_id)
        if options is not None and not isinstance(options, Mapping):
            raise ActionError(
                f"options={options!r}: expected a dict; the simulator resets all envs in one call"
            )
        if options is not None and "reset_mask" in options:
            options = {**options, "reset_mask": self._simulator.taken_mask(options["reset_mask"])}
        self._pending = (self._reset, self._checked_seed(seed), options)
        return self.recv(reset=True)

    def async_reset(self) -> None:
        """Send a reset to every env; receive with `recv`."""
        self._refuse_pending()
        self._pending = (self._reset, None, None)

    def _reset(self, seed: Any, options: Mapping[str, Any] | None) -> tuple[Any, ...]:
        batch = self._simulator.reset(self._seed if seed is None else seed, options)
        self._seed = None
        self._counts["resets"] += 1
        return batch

    def _pack(
        self, obs: Any, reward: Any, terminated: Any, truncated: Any, info: dict[str, Any], reset: bool
    ) -> Any:
        """The result in the shape of the face."""
        return (obs, info) if reset else (obs, reward, terminated, truncated, info)

    # ---- what is refused ----

    def _refuse_closed(self) -> None:
        if self._closed:
            raise PoolClosedError("this pool is closed; make a new one")

    def _refuse_pending(self) -> None:
        self._refuse_closed()
        if self._inside.locked():
            raise PendingCallError(_ANOTHER_THREAD)
        if self._pending is not None:
            raise PendingCallError("a batch is in flight; recv() it first")

    def _check_env_id(self, env_id: Any) -> None:
        """All envs in order. The pool's own array is known by identity: no device's memory is looked at."""
        if env_id is self._simulator.env_id or env_id is self._all_env_ids:
            return
        if on_host(env_id) and np.array_equal(np.asarray(env_id), self._all_env_ids):
            return
        raise ActionError(
            f"env_id: a batched simulator steps and resets its {self.num_envs} envs at once and in order; "
            "leave env_id out, or give info['env_id'] itself (options={'reset_mask': ...} resets some, where "
            "the simulator can)"
        )

    def _checked_seed(self, seed: Any) -> Any:
        if seed is None:
            return None
        if isinstance(seed, np.random.SeedSequence | Mapping):
            raise ConfigError(f"seed={seed!r}: a simulator takes an int, or a list of {self.num_envs} ints")
        seeds = seeds_of(seed, self.num_envs)
        return seeds if isinstance(seed, list | tuple | np.ndarray) else seeds[0]

    # ---- the pool itself ----

    def close(self, **kwargs: Any) -> None:
        """Close the simulator. May be called again."""
        if not self._closed:
            self._closed, self._pending = True, None
            self.venv.close(**kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def render(self) -> Any:
        """Whatever the simulator renders."""
        self._refuse_closed()
        return self.venv.render()

    def stats(self) -> dict[str, Any]:
        """What the pool counted: `batches`, `resets` among them, rows `in_flight`, and the caller's seconds.

        `step_seconds` were in the simulator, and `caller_inside_seconds` in `recv` as a whole. A device may
        still be computing when its launch returns, which neither waits for.
        """
        seconds = {"step_seconds": self._simulator.seconds, "caller_inside_seconds": self._seconds}
        return {**self._counts, **seconds, "in_flight": 0 if self._pending is None else self.num_envs}

    @property
    def config(self) -> dict[str, Any]:
        """The settings, with those that the simulator was made with by `envpool_wrap.make`."""
        return dict(self._settings)

    @property
    def all_env_ids(self) -> NDArray[np.int32]:
        """0 to num_envs - 1, int32, a NumPy array."""
        return self._all_env_ids

    @property
    def is_async(self) -> bool:
        """False: all rows of a simulator end their step together."""
        return False

    def __len__(self) -> int:
        return self.num_envs

    def __repr__(self) -> str:
        state = "closed" if self._closed else self._simulator.where
        kind, inner = type(self).__name__, type(getattr(self.venv, "unwrapped", self.venv)).__name__
        mode = self._simulator.mode
        return f"{kind}({inner}, num_envs={self.num_envs}, autoreset_mode={mode}, {state})"
