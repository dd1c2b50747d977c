"""Stepping leaves no memory and no references behind."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import sys
from pathlib import Path
from typing import Any

import dm_env
import gymnasium
import numpy as np
import psutil
import pytest
from envs import Counting, Faulty, Gated, Nested
from gymnasium.vector.utils import batch_space
from kernel_envs import Drift
from plain_envs import DMEcho, Echo, OldEcho

import envpool_wrap
from envpool_protocol import CppWrapperGenerator
from envpool_protocol.errors import EnvError

MIB = 1 << 20


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def growth(run: Any, times: int) -> int:
    """Bytes that `times` further runs add to the resident memory, after a warm-up of as many."""
    for _ in range(times):
        run()
    before = resident()
    for _ in range(times):
        run()
    return resident() - before


def in_workers(pool: Any, run: Any, times: int) -> int:
    """Bytes that `times` further runs add to the memory of the pool's worker processes."""
    workers = psutil.Process().children() if pool.config["backend"] == "process" else []
    before = sum(worker.memory_info().rss for worker in workers)
    for _ in range(times):
        run()
    return sum(worker.memory_info().rss for worker in workers) - before


def nested_actions(rows: int) -> Any:
    return batch_space(Nested(0).action_space, rows).sample()


@pytest.mark.parametrize(("cls", "batches"), [(Gated, 1000), (Faulty, 1000), (Nested, 300)])
@pytest.mark.parametrize("batch_size", [0, 30])
def test_steps_leave_memory_behind(make: Any, backend: str, cls: Any, batches: int, batch_size: int) -> None:
    pool = make(cls, num_envs=100, batch_size=batch_size, backend=backend)
    actions = nested_actions(100) if cls is Nested else np.zeros(100, int)
    pool.async_reset()
    while pool.stats()["in_flight"]:
        pool.recv(reset=True)

    def step() -> None:
        pool.send(actions)
        while pool.stats()["in_flight"]:
            pool.recv()

    assert growth(step, batches) < MIB
    assert in_workers(pool, step, batches // 2) < MIB


def test_failures_leave_memory_behind(make: Any, backend: str) -> None:
    pool = make(Faulty, num_envs=10, backend=backend)
    pool.reset()
    pool.set_attr("_info_envpool", lambda: 1 / 0)

    def fail() -> None:
        with pytest.raises(EnvError):
            pool.step(np.zeros(10, int))
        pool.step(np.zeros(10, int))  # resets

    assert growth(fail, 200) < MIB
    assert in_workers(pool, fail, 100) < MIB


def test_letters_between_processes_grow_their_files(make: Any) -> None:
    """Infos, options, functions and results of the same sizes, again and again."""
    pool = make(Faulty, num_envs=4, backend="process", num_threads=2)
    files = [fd for part in pool._core.files() for fd in (part if isinstance(part, list) else [part])]

    def write() -> None:
        for size in (10, 100_000):
            pool.reset(options={"level": "x" * size})
            pool.set_attr("mark", "y" * size)
            assert len(pool.get_attr("mark")[3]) == size

    assert growth(write, 100) < MIB
    before = [os.fstat(fd).st_size for fd in files]
    for _ in range(20):
        write()
    assert [os.fstat(fd).st_size for fd in files] == before
    assert before[1] < 4 * 2**18  # two envs are in the worker; each letter fits in 2**17


def test_pools_leave_memory_behind(task_id: Any, backend: str) -> None:
    name = task_id(Counting)
    times = 30 if backend == "process" else 200

    def live() -> None:
        with envpool_wrap.make(name, "gym", num_envs=20, backend=backend) as pool:
            pool.step(np.zeros((20, 1), np.float32))

    assert growth(live, times) < MIB


@pytest.mark.parametrize("backend", ["inline", "thread"])
def test_held_objects_are_counted_up_or_down(make: Any, backend: str) -> None:
    obs, reward, info, options = np.zeros(2, np.float32), 1.5e300, {"a": 1}, {"level": object()}
    objects = [obs, reward, info, info["a"], options, options["level"], obs.dtype, ValueError("x")]
    pool = make(Faulty, num_envs=4, backend=backend, env_kwargs={"error": objects[-1]})
    pool.set_attr("_make_obs_envpool", lambda: obs)
    pool.set_attr("_reward_envpool", lambda: np.float64(2) if obs is None else 1.25)
    pool.set_attr("_info_envpool", lambda: info)
    objects += [*pool.get_attr("__dict__"), Faulty]

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(one) for one in objects]

    def step(times: int) -> None:
        pool.reset(options=options)
        for _ in range(times):
            pool.step(np.zeros(4, int))
        pool.set_attr("fail_in", "_step_envpool")
        with pytest.raises(EnvError):
            for _ in range(3):
                pool.step(np.zeros(4, int))
        pool.set_attr("fail_in", "")
        objects[7].__traceback__ = None
        pool.reset()

    step(10)
    before = counts()
    singletons = [sys.getrefcount(one) for one in (None, True, False)]
    step(3000)
    assert counts() == before
    for one, count in zip((None, True, False), singletons, strict=True):
        assert abs(sys.getrefcount(one) - count) < 500


@pytest.mark.parametrize("backend", ["inline", "thread"])
def test_nested_values_are_counted_up_or_down(make: Any, backend: str) -> None:
    pool = make(Nested, num_envs=2, backend=backend)
    answer = Nested(0).action_space.sample()
    objects = [answer, *answer.values(), *answer["arm"], *answer["arm"][1].values(), *answer]
    pool.set_attr("answer", answer)
    actions = nested_actions(2)
    pool.step(actions)
    before = [sys.getrefcount(one) for one in objects]
    for _ in range(2000):
        pool.step(actions)
    assert [sys.getrefcount(one) for one in objects] == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_million_steps_leave_memory_behind(make: Any) -> None:
    pool = make(Gated, num_envs=1000, backend="inline")
    actions = np.zeros(1000, int)
    pool.reset()
    assert growth(lambda: pool.step(actions), 5_000) < MIB
    assert sum(pool.stats()["steps"]) == 10_000_000


def counts(objects: list[Any]) -> list[int]:
    return [sys.getrefcount(one) for one in objects]


OBS = Echo().reset(seed=1)[0]
DM_OBS = DMEcho().reset().observation
RESULTS: list[tuple[type, str, Any]] = [
    (Echo, "step", (OBS, 1e300, False, False, {"key": object()})),
    (Echo, "step", (OBS, 1e300, False, False, None)),
    (Echo, "step", (OBS, "no reward", False, False, {"key": 1})),
    (Echo, "step", ({"t": 0}, 1e300, False, False, {})),
    (Echo, "step", (OBS, 1e300)),
    (Echo, "reset", (OBS, {"key": object()})),
    (Echo, "reset", (OBS, 3)),
    (OldEcho, "step", (OBS, 1e300, True, {"TimeLimit.truncated": True})),
    (OldEcho, "reset", OBS),
    (DMEcho, "step", dm_env.TimeStep(dm_env.StepType.LAST, 1e300, 0.5, DM_OBS)),
    (DMEcho, "step", dm_env.TimeStep(dm_env.StepType.MID, None, None, DM_OBS)),
    (DMEcho, "reset", dm_env.restart(DM_OBS)),
]


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="counts are split there")
@pytest.mark.parametrize(("cls", "method", "result"), RESULTS)
def test_references_to_what_a_method_returned_are_kept(
    cls: Any, method: str, result: Any, module_kind: str, pool_of: Any
) -> None:
    env = cls()
    pool = pool_of([env], module_kind, env_name=f"{cls.__name__}Instances", num_envs=1)
    actions = batch_space(pool.spec.gymnasium_action_space, 1).sample()

    def run() -> None:
        with contextlib.suppress(EnvError):
            pool.reset() if method == "reset" else pool.step(actions)

    pool.reset()
    env.answers = {method: result}
    run()
    watched = [result, *(result if isinstance(result, tuple) else result.values())]
    gc.collect()
    before = counts(watched)
    for _ in range(50):
        run()
    gc.collect()
    changes = [now - then for now, then in zip(counts(watched), before, strict=True)]
    assert all(abs(change) < 25 for change in changes), changes  # None and False have other holders


def test_a_compiled_env_takes_its_state_its_rows_and_little_else(home: Any) -> None:
    pytest.importorskip("numba")
    drift = CppWrapperGenerator.generate_envpool_wrap(Drift, compiled=True).task_id
    with envpool_wrap.make(drift, "gym", num_envs=8) as few:
        few.reset()  # whatever is loaded once
    before, actions = resident(), np.zeros(100_000, int)
    with envpool_wrap.make(drift, "gym", num_envs=100_000) as pool:
        pool.reset()
        pool.step(actions)
        grown = (resident() - before) / 100_000
        rows = pool.stats()["batches_touched"] * (
            24 + 4 * 8 + 8 + 1
        )  # the engine's leaves, obs, info and its mask
        assert grown - pool.save_state([0])["state"].nbytes - rows - actions.itemsize <= 128


class Large(gymnasium.Env[Any, Any]):
    """An observation of 64 MiB."""

    observation_space = gymnasium.spaces.Box(0, 255, (64 << 20,), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.obs = np.zeros(64 << 20, np.uint8)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self.obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.obs, 1.0, False, False, {}


def test_a_copy_that_finds_no_memory_keeps_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.core.RING_BYTES", 0)
    with envpool_wrap.from_env_fns([Large], env_type="gym", backend="inline") as pool:
        held = [pool.reset()]
        while pool.stats()["private_copies"] == 0:
            held.append(pool.step([1]))
        del held[-1]
        limits = resource.getrlimit(resource.RLIMIT_AS)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (16 << 20), limits[1]))
        try:
            for _ in range(2 * len(held) + 4):
                with pytest.raises(MemoryError):
                    pool.step([1])
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
        assert pool.step([1])[1].tolist() == [1.0]
