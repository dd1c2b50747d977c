"""The engine (cpp_core/py_pool.h). `envpool_wrap.pool.Pool` is what users see of it."""

from collections.abc import Callable, Sequence
from typing import Any

abi: int
host: Any

def read_env_ids(env_id: Any) -> list[int]: ...

class EngineShape:
    def __init__(
        self,
        *,
        num_envs: int,
        batch_size: int,
        num_queues: int,
        num_blocks: int,
        max_episode_steps: int,
        timed: bool,
        spin_ns: int,
    ) -> None: ...
    def to_dict(self) -> dict[str, Any]: ...

class View: ...

class Pool:
    def __init__(
        self,
        *,
        module: Any,
        factory: Callable[[int], Any],
        shape: EngineShape,
        num_threads: int,
        num_processes: int,
        caller_works: bool,
        thread_affinity_offset: int,
        ring_bytes: int,
    ) -> None: ...
    def shape(self) -> dict[str, Any]: ...
    def files(self) -> tuple[int, int, list[int]]: ...
    def set_processes(self, processes: Any) -> None: ...
    def build(self) -> list[tuple[Any, ...]]: ...
    def send(self, actions: tuple[Any, ...], env_id: Any) -> None: ...
    def step(
        self, actions: tuple[Any, ...], env_id: Any, view: View, timeout: float | None
    ) -> tuple[Any, ...]: ...
    def reset(
        self, env_id: Any, seeds: Sequence[int | None] | None, options: Sequence[dict[str, Any] | None] | None
    ) -> None: ...
    def recv(self, view: View, timeout: float | None) -> tuple[Any, ...]: ...
    def apply(
        self, function: Callable[[Any], Any], env_id: Any
    ) -> tuple[list[Any], list[tuple[Any, ...]]]: ...
    def close(self, timeout: float) -> tuple[bool, list[tuple[Any, ...]]]: ...
    def seed(self, id: int) -> int | None: ...
    def set_seed(self, env: int, seed: int | None) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def view(self, names: Sequence[str]) -> View: ...
    @property
    def closed(self) -> bool: ...
    @property
    def num_in_flight(self) -> int: ...
    @property
    def num_pending_batches(self) -> int: ...

class Worker:
    def __init__(
        self,
        *,
        module: Any,
        factory: Callable[[int], Any],
        shape: EngineShape,
        arena_fd: int,
        inbox_fd: int,
        outbox_fd: int,
        queue: int,
        parent: int,
    ) -> None: ...
    def run(self) -> None: ...
