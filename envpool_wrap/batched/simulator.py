"""One simulator: what goes into it and comes out is checked, counted, and of the library that was asked for.

Checks look at array objects, never at values. Whatever is computed or copied is so in the simulator's own
library, which alone knows when it writes its memory again; the result then changes hands by DLPack.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping
from typing import Any

from envpool_protocol.errors import ActionError, EnvPoolError, SpecError
from envpool_wrap.batched.arrays import Arrays, computes, namespace, read_as
from envpool_wrap.batched.episodes import Episodes, mode_of
from envpool_wrap.batched.layout import Expected, Layout, columns, mask_of

_VECTOR_ENV = ("num_envs", "single_observation_space", "single_action_space", "reset", "step")


class Simulator:
    """A VectorEnv whose first reset tells its library and device.

    Attributes:
        num_envs: its rows.
        mode: its autoreset mode, such as `"same_step"`.
        arrays: what is given out, from the first reset on.
        env_id: 0 to num_envs - 1 as one of these; None before.
        seconds: that the calling thread was inside the simulator.
        observation_spec, action_spec: the leaves of its spaces.
    """

    arrays: Arrays  # given out
    _native: Arrays  # the simulator's own, or `arrays` where those do not compute
    _held: type | tuple[()] = ()  # the type of the simulator's arrays, where those do not compute
    _episodes: Episodes | None = None

    def __init__(self, venv: Any, array: str, autoreset_mode: Any, copy: bool) -> None:
        """Look at the VectorEnv. For arguments and errors see BatchedPool."""
        missing = [name for name in _VECTOR_ENV if not hasattr(venv, name)]
        if missing:
            kind, names = type(venv).__name__, ", ".join(missing)
            raise SpecError(f"{kind} has no {names}: expected a gymnasium.vector.VectorEnv")
        if array != "native":
            namespace(array)
        self._venv, self._array, self._copy = venv, array, copy
        self.num_envs = operator.index(venv.num_envs)
        self.mode = mode_of(venv, autoreset_mode)
        self.env_id: Any = None
        self.seconds = 0.0
        self._obs = Layout(venv.single_observation_space, "obs", self.num_envs, exact=True)
        self._action = Layout(venv.single_action_space, "action", self.num_envs, exact=False)
        self.observation_spec, self.action_spec = self._obs.spec, self._action.spec
        self._columns = columns(self.num_envs)
        self._mask = mask_of(self.num_envs)

    @property
    def where(self) -> str:
        """Library and device, for a repr."""
        return "not reset yet" if self._episodes is None else str(self.arrays)

    # ---- in ----

    def taken(self, action: Any) -> Any:
        """An action as the simulator's arrays. Raises ActionError."""
        self._refuse_before_reset()
        leaves = [self._taken(*pair, ActionError) for pair in self._action.leaves(action)]
        return self._action.build(leaves)

    def taken_mask(self, mask: Any) -> Any:
        """A reset mask as one of the simulator's arrays. Raises ActionError."""
        self._refuse_before_reset()
        return self._taken(self._mask, mask, ActionError)

    def _refuse_before_reset(self) -> None:
        if self._episodes is None:
            raise ActionError("nothing was reset yet; reset() all envs first")

    def _taken(self, expected: Expected, array: Any, error: type[EnvPoolError]) -> Any:
        """An array from outside as one of the simulator's, checked."""
        taken = self._native.take(array, expected.name, error)
        expected.check(taken, error)
        return taken

    # ---- out ----

    def step(self, action: Any) -> tuple[Any, ...]:
        """(obs, reward, terminated, truncated, info) of an action that was `taken`. Raises SpecError."""
        obs, *rest, info = self._ask(
            self._venv.step, ("obs", "reward", "terminated", "truncated", "info"), action
        )
        checked = [self._taken(*pair, SpecError) for pair in zip(self._columns, rest, strict=True)]
        assert self._episodes is not None  # or no action would have been taken
        return self._answer(obs, self._episodes.step(*checked), info)

    def reset(self, seed: Any, options: Mapping[str, Any] | None) -> tuple[Any, ...]:
        """The same of a reset; a `reset_mask` in the options was `taken_mask`. Raises SpecError."""
        options = None if options is None else dict(options)
        mask = (options or {}).get("reset_mask")
        obs, info = self._ask(self._venv.reset, ("obs", "info"), seed=seed, options=options)
        if self._episodes is None:
            self._meet(obs)
        assert self._episodes is not None  # the line above
        return self._answer(obs, self._episodes.begin(mask), info)

    def _ask(self, function: Callable[..., Any], parts: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            answer = function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - start
        if not isinstance(answer, tuple) or len(answer) != len(parts):
            size = f"tuple of {len(answer)}" if isinstance(answer, tuple) else type(answer).__name__
            raise SpecError(f"{function.__name__}() returned a {size}; expected ({', '.join(parts)})")
        return answer

    def _meet(self, obs: Any) -> None:
        """Learn from the first observation which library the simulator uses, and on which device."""
        expected, first = next(iter(self._obs.leaves(obs)))
        native = Arrays.of(first, expected.name) if self._array == "native" or computes(first) else None
        if native is not None and self._array in ("native", native.library):
            self._native = self.arrays = native
        else:
            self.arrays = read_as(self._array, first, expected.name)
            self._native = native or self.arrays
        if native is None:
            self._held = type(first)
        self._episodes = Episodes(self._native, self.mode, self.num_envs)
        xp = self._native.xp
        self.env_id = self._given(xp.arange(self.num_envs, dtype=xp.int32, device=self._native.device))

    def _answer(self, obs: Any, counted: tuple[Any, ...], info: Any) -> tuple[Any, ...]:
        if not isinstance(info, Mapping | None):
            raise SpecError(f"info is a {type(info).__name__}; expected a dict")
        *columns, elapsed = map(self._given, counted)
        leaves = [self._own(self._taken(*pair, SpecError)) for pair in self._obs.leaves(obs)]
        if info and (self._copy or self._held or self.arrays is not self._native):
            info = self._given_info(info)
        ids = {"env_id": self.env_id, "players": {"env_id": self.env_id}, "elapsed_step": elapsed}
        return self._obs.build(leaves), *columns, {**(info or {}), **ids}

    def _given_info(self, value: Any) -> Any:
        """An info with the simulator's arrays as those given out; whatever else it holds stays as it is."""
        if isinstance(value, Mapping):
            return {key: self._given_info(member) for key, member in value.items()}
        if isinstance(value, self._held):
            value = self._native.take(value, "an array of info", SpecError)
        return self._own(value) if self._native.holds(value) else value

    def _own(self, array: Any) -> Any:
        """One of the simulator's arrays as one given out, copied if asked for."""
        return self._given(self._native.copy(array) if self._copy else array)

    def _given(self, array: Any) -> Any:
        if self.arrays is self._native:
            return array
        return self.arrays.take(array, "a result", SpecError)
