"""A pool behind `send` and `recv`: what all faces share.

The engine does the work (cpp_core/env_pool.h); here settings become its arguments, and failures errors.
One thread at a time may use a pool; a second one gets PendingCallError. No call blocks for ever: `recv` with
nothing in flight raises, Ctrl-C ends a wait, and `close` has a deadline.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from envpool_protocol import _core
from envpool_protocol.errors import ActionError, ConfigError, PoolTimeout
from envpool_protocol.sources import Description, Source
from envpool_wrap import access, core
from envpool_wrap.backends import Placement
from envpool_wrap.config import PoolConfig
from envpool_wrap.core import OpenCore, env_factory
from envpool_wrap.engines import open_engine
from envpool_wrap.episode_stats import EpisodeStats
from envpool_wrap.failures import raise_failures
from envpool_wrap.imports import once_imported
from envpool_wrap.infos import LAYOUTS, DeclaredInfo, Rows
from envpool_wrap.kernels import KernelCore
from envpool_wrap.modules import is_prebuilt
from envpool_wrap.nested import builder, flattener
from envpool_wrap.pool_spec import PoolSpec
from envpool_wrap.resets import options_for, seeds_for
from envpool_wrap.stats import readable


class Pool:
    """Base of every face.

    `send(action, env_id=None)` and `recv()` are the two halves of `step`. With `batch_size` 0 the pool is
    synchronous: each `send` or `reset` is one batch, `recv` returns batches in that order and rows in the
    order asked for. With `0 < batch_size < num_envs` it is asynchronous: `recv` returns the `batch_size` envs
    that finish first (fewer only when fewer are in flight), named by `env_id`.

    Arrays that were returned are yours: they are never written again, and outlive the pool.
    """

    # The leaves that `_pack` gets in `_rest`, in this order: after those of the observation and its finals.
    _leaves: ClassVar[tuple[str, ...]] = ()
    _has_info: ClassVar[bool] = True
    # Without `close()`, a pool ends when it is collected, or before the interpreter does.
    _finalizer: weakref.finalize[Any, Any]

    def __init__(
        self, source: Source, description: Description, module: ModuleType, config: PoolConfig
    ) -> None:
        self._description = description
        self._name = source.task_id
        self._config = config
        self.spec: Any = PoolSpec(description, config)
        self._placement, self._open = self._start(source, description, module, config)
        self._core = self._open.pool
        self._module = module
        self._finalizer = weakref.finalize(self, OpenCore.close_quietly, self._open)
        obs = description.spec.obs
        names = [leaf.name for leaf in obs.leaves]
        declared = DeclaredInfo(description.spec.info if self._has_info else None)
        self._has_finals = config.autoreset_mode == "same_step"
        finals = [f"final_{name}" for name in names] if self._has_finals else []
        final_infos = [f"final_{name}" for name in declared.names] if self._has_finals else []
        self._view = self._core.view([*names, *finals, *self._leaves, *declared.names, *final_infos])
        self._finals = slice(len(names), len(names) + len(finals))
        self._rest = slice(self._finals.stop, self._finals.stop + len(self._leaves))
        self._final_infos = slice(self._rest.stop + len(declared.names), -1)
        self._declared = declared.builder(self._rest.stop)
        self._final_declared = declared.builder(self._final_infos.start)
        self._build_obs = builder(obs)
        self._flatten = flattener(description.spec.action)
        self._infos = LAYOUTS[config.infos]
        self._episodes = EpisodeStats(config.num_envs) if config.episode_stats else None
        self._timeout = config.timeout
        self._made = time.monotonic()
        self._restarts = [0] * config.num_envs
        self._all_env_ids = np.arange(config.num_envs, dtype=np.int32)

    def _start(
        self, source: Source, description: Description, module: ModuleType, config: PoolConfig
    ) -> tuple[Placement, OpenCore]:
        """Build the envs where they shall run."""
        return open_engine(env_factory(source, description, config), description, module, config)

    # ---- what a face adds ----

    def _pack(self, leaves: Sequence[Any], info: dict[str, Any], reset: bool) -> Any:
        """The face's result from the arrays of one batch."""
        raise NotImplementedError

    def _ended(self, leaves: Sequence[Any]) -> NDArray[np.bool_]:
        """In which rows of a batch an episode ended."""
        raise NotImplementedError

    def _final_leaves(self, leaves: Sequence[Any], ended: Any) -> Sequence[Any]:
        """What each row's step led to: the last observation of an episode that ended, else the row's own."""
        for leaf, final in zip(leaves, leaves[self._finals], strict=False):
            going_on = ~ended.reshape(-1, *[1] * (leaf.ndim - 1))
            np.copyto(final, leaf, where=going_on)
        return leaves[self._finals]

    def _add_final_info(self, leaves: Sequence[Any], ended: Any, info: dict[str, Any]) -> None:
        """Add the declared info of the episodes that ended: zeros and masks that are False elsewhere."""
        for leaf in leaves[self._final_infos]:
            leaf[~ended] = np.zeros((), leaf.dtype)
        self._final_declared(leaves, info)

    # ---- sending and receiving ----

    def send(self, action: Any, env_id: Any = None) -> None:
        """Send a batch of actions, one row per env.

        Args:
            action: shape (rows, *action shape) and the action space's dtype, nested as the space is.
            env_id: which envs; default: all, in order.

        Raises:
            ActionError: wrong length, dtype, shape, range or env ids. Nothing was sent.
            PendingCallError: another call is inside the pool.
        """
        self._core.send(self._flatten(action), env_id)

    def recv(self, reset: bool = False, return_info: bool = True) -> Any:
        """Receive one batch, in the shape of `step`, or of `reset` with `reset=True`.

        Args:
            reset: which shape.
            return_info: nothing; EnvPool's `recv` has it.

        Raises:
            NothingPendingError: nothing is in flight.
            EnvError: an env raised; the whole batch is in `.result`.
            PoolTimeout: the pool's `timeout` passed; nothing is lost, call `recv` again.
        """
        return self._finish(self._core.recv(self._view, self._timeout), reset)

    def step(self, action: Any, env_id: Any = None) -> Any:
        """`send` and `recv` in one call. Raises what they raise."""
        return self._finish(self._core.step(self._flatten(action), env_id, self._view, self._timeout), False)

    def reset(self, env_id: Any = None, *, seed: Any = None, options: Any = None) -> Any:
        """Reset envs and receive a batch.

        Args:
            env_id: which envs; default: all.
            seed: int s → env i gets s + i; a SeedSequence: env i gets its stream i; a list: one per env that
                is reset; a dict: by env id; None, also in a list: no new seed (the first reset uses the
                pool's).
            options: what the env's `reset(options=...)` gets, or the keyword arguments of `_reset_envpool`: a
                dict for all, a list with one per env, or a dict of these by env id.

        Raises:
            ActionError: wrong env ids, or options for an env that takes none.
            PendingCallError: in a synchronous pool, a batch was sent and not received.
        """
        self._core.refuse_pending()
        self._send_reset(env_id, seed, options)
        return self.recv(reset=True)

    def async_reset(self) -> None:
        """Send a reset to every env; receive with `recv`."""
        self._send_reset(None, None, None)

    def _send_reset(self, env_id: Any, seed: Any, options: Any) -> None:
        envs = range(len(self)) if env_id is None else _core.read_env_ids(env_id)
        seeds = None if seed is None else seeds_for(envs, seed, len(self))
        each = None if options is None else options_for(envs, options)
        spec = self._description.spec
        if each is not None and not spec.reset_takes_options:
            hint = (
                "_reset_envpool takes no options; give it keyword arguments to pass some"
                if spec.api == "hooks"
                else "reset takes no `options` (nor `env_info`)"
            )
            raise ActionError(f"{self._name}: {hint}")
        self._core.reset(env_id, seeds, each)

    def _finish(self, received: tuple[Any, ...], reset: bool, face: Any = None) -> Any:
        """The result in the shape of this pool, or of an adapter over it with `_infos` and `_pack`."""
        face = self if face is None else face
        failures, rows = received[-1] or ((), None)
        info = face._infos.start(rows)
        self._declared(received, info)
        if self._episodes is not None:
            self._add_episodes(self._episodes, received, failures, rows, info)
        result = face._pack(received, info, reset)
        if failures:
            self._answer(failures, result)
        return result

    def _add_episodes(
        self, stats: EpisodeStats, received: Sequence[Any], failures: Any, rows: Rows, info: dict[str, Any]
    ) -> None:
        leaf = dict(zip(self._leaves, received[self._rest], strict=True))
        ended = self._ended(received)
        failed = [failure[1] for failure in failures]
        episode = stats.add(leaf["env_id"], leaf["reward"], ended, leaf["elapsed_step"], failed)
        if episode is None:
            return
        if any(row and "episode" in row for row in rows or ()):
            raise ConfigError(
                f"{self._name}: info has the key 'episode' already; make the pool with episode_stats=False"
            )
        info["episode"], info["_episode"] = episode, ended

    def _answer(self, failures: list[Any], result: Any) -> None:
        """Restart the envs that failed, or raise: on_error says which, `max_restarts` how often per env."""
        ids = [failure[0] for failure in failures]
        most = self._config.max_restarts if self._config.on_error == "restart" else 0
        if any(self._restarts[env] >= most for env in ids):
            raise_failures(failures, result)
        for env in ids:
            self._restarts[env] += 1
        failed_again = self._core.rebuild(ids)  # envs of a dead worker start again when they are next sent to
        if failed_again:
            raise_failures(failed_again, result)

    # ---- the pool itself ----

    def close(self, **kwargs: Any) -> None:
        """Close every env and end the workers. May be called again.

        Raises:
            PoolTimeout: an env did not return within five seconds; its thread is left behind.
            EnvError: a `_close_envpool` raised; everything is closed all the same.
        """
        ended, failures = self._open.close()
        self._finalizer.detach()
        if not ended:
            raise PoolTimeout(
                f"an env did not return within {core.CLOSE_DEADLINE:g} s of close(); its thread was left "
                "behind, since a thread cannot be ended from outside"
            )
        if failures:
            raise_failures(failures)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def stats(self) -> dict[str, Any]:
        """What the pool counted: see `envpool_wrap.stats.readable`."""
        lifetime = time.monotonic() - self._made
        return readable(self._core.stats(), self._restarts, self._config.rows, lifetime)

    @property
    def config(self) -> dict[str, Any]:
        """The settings, with what was chosen for `"auto"`."""
        chosen = {
            "backend": self._placement.backend,
            "num_threads": self._placement.workers,
            "caller_steps": self._placement.caller_works,
        }
        return {**vars(self._config), **chosen, "batch_size": self._config.rows}

    @property
    def all_env_ids(self) -> NDArray[np.int32]:
        """0 to num_envs - 1, int32."""
        return self._all_env_ids

    @property
    def is_async(self) -> bool:
        """Whether `recv` returns the envs that finish first."""
        return self._config.is_async

    def __len__(self) -> int:
        return self._config.num_envs

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self._name}: a pool cannot be copied or pickled, since its envs and memory belong to this "
            "process; send the arguments of make(), and make another one there"
        )

    def __repr__(self) -> str:
        state = (
            "closed" if self._core.closed else f"backend={self._placement.backend} ({self._placement.why})"
        )
        size = f"num_envs={len(self)}, batch_size={self._config.rows}"
        if is_prebuilt(self._module):
            size += ", prebuilt module"
        if isinstance(self._core, KernelCore):
            size += ", compiled hooks"
        return f"{type(self).__name__}({self._name}, {size}, {state})"

    # ---- the envs ----

    def call(self, name: str, *args: Any, env_id: Any = None, **kwargs: Any) -> Any:
        """Call method `name` of idle envs, on their workers; one result per env.

        Raises:
            PendingCallError: one of the envs is in flight.
            Exception: whatever the method raises, with its traceback.
        """
        return self._apply(access.Call(name, args, kwargs), env_id)

    def get_attr(self, name: str, env_id: Any = None) -> Any:
        """Attribute `name` of idle envs, of whichever wrapper has it."""
        return self._apply(access.Read(name), env_id)

    def set_attr(self, name: str, value: Any, env_id: Any = None) -> None:
        """Set attribute `name` of idle envs to one value, in whichever wrapper has it."""
        self._apply(access.Write(name, value), env_id)

    def render(self, env_id: Any = None) -> Any:
        """Frames of idle envs: uint8 of shape (envs, height, width, 3)."""
        return np.stack(self._apply(access.Render(), env_id))

    def env_is_wrapped(self, wrapper_class: type, env_id: Any = None) -> list[bool]:
        """Whether a wrapper of this class is around each of the envs, which are idle."""
        return self._apply(access.IsWrapped(wrapper_class), env_id)

    def save_state(self, env_id: Any = None) -> NDArray[Any]:
        """The states of idle envs of a pool with compiled hooks, for `load_state`, now or in another pool.

        Returns:
            A structured array of shape (envs,) with the fields `state` (what `state_envpool` declares),
            `elapsed_step` (int32) and `over` (bool: the next step is a reset). It can be indexed, repeated
            and saved as any other array.

        Raises:
            ConfigError: the hooks are not compiled.
            PendingCallError: one of the envs is in flight.
        """
        return self._kernel().save(env_id)

    def load_state(self, saved: NDArray[Any], env_id: Any = None) -> None:
        """Put idle envs into states that `save_state` returned: one each, or one for all of them.

        The next step of each goes on from there; random numbers too come as they would have come.
        `episode_stats` do not know of it, and add up what an env did before and after.

        Raises:
            ActionError: not states of this env, or not as many as envs.
            ConfigError, PendingCallError: as `save_state`.
        """
        self._kernel().load(saved, env_id)

    def _kernel(self) -> KernelCore:
        if isinstance(self._core, KernelCore):
            return self._core
        raise ConfigError(
            f"{self._name}: only compiled hooks have a state that can be saved; declare state_envpool and "
            "generate with generate_envpool_wrap(..., compiled=True)"
        )

    def _apply(self, function: Callable[[Any], Any], env_id: Any) -> list[Any]:
        return access.apply(self._core, function, env_id)


# torchrl takes only what is an instance of EnvPool's mixin. EnvPool is not imported for that.
_MIXIN = "envpool.python.envpool"
once_imported(_MIXIN, lambda: sys.modules[_MIXIN].EnvPoolMixin.register(Pool))
