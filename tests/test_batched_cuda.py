"""Batched simulators on a GPU: nothing is copied, nothing is waited for. `make test-cuda`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from simulators import FakeVecTask, JaxPoints, Points, address, lists

from envpool_protocol.errors import ActionError, SpecError
from envpool_wrap.integrations.batched import BatchedDMPool, BatchedGymnasiumPool, BatchedPool
from envpool_wrap.integrations.isaac import from_isaac_gym

pytestmark = pytest.mark.integration

ROWS = 4096
FACES = [BatchedPool, BatchedGymnasiumPool, BatchedDMPool]


@pytest.fixture
def torch() -> Any:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch


@pytest.fixture
def jax() -> Any:
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("JAX was installed without CUDA, such as jax[cuda13] has")
    return jax


def points() -> Points:
    import array_api_compat.torch

    return Points(array_api_compat.torch, ROWS, "cuda")


def isaac() -> Any:
    return from_isaac_gym(FakeVecTask(ROWS, "cuda"))


@pytest.fixture(params=[points, isaac], ids=["same_step", "next_step"])
def simulator(torch: Any, request: Any) -> Callable[[], Any]:
    return request.param


def stepped(torch: Any, pool: Any) -> Any:
    """One step with ones, after which nothing has to be allocated or compiled any more."""
    pool.reset()
    action = torch.ones(pool.num_envs, *pool.single_action_space.shape, device="cuda")
    pool.step(action)
    torch.cuda.synchronize()
    return action


def test_results_are_elsewhere_or_copied(torch: Any, simulator: Any) -> None:
    venv = simulator()
    pool = BatchedPool(venv)
    action = stepped(torch, pool)
    obs, *columns, info = pool.step(action)
    assert obs.data_ptr() == (venv.obs if isinstance(venv, Points) else venv.task.obs_buf).data_ptr()
    for one in (obs, *columns, info["env_id"], info["elapsed_step"]):
        assert one.device == torch.device("cuda", torch.cuda.current_device())
    pool.step(action, info["env_id"])


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("face", FACES)
def test_the_host_waits_for_the_device(torch: Any, simulator: Any, face: Any, copy: bool) -> None:
    pool = face(simulator(), copy=copy)
    action = stepped(torch, pool)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):
            action.sum().item()
        for _ in range(100):
            pool.step(action, pool._simulator.env_id)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("face", FACES)
def test_something_is_copied_to_the_host(torch: Any, simulator: Any, face: Any) -> None:
    from torch.profiler import ProfilerActivity, profile

    def copies(function: Callable[[], Any]) -> list[str]:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            function()
            torch.cuda.synchronize()
        names = [event.key for event in profiler.key_averages()]
        assert any("cudaLaunchKernel" in name for name in names), "the profiler sees no kernel"
        return [name for name in names if "DtoH" in name]

    pool = face(simulator(), copy=True)
    action = stepped(torch, pool)
    assert copies(lambda: (action + 1).cpu()) != []
    assert copies(lambda: [pool.step(action) for _ in range(100)]) == []


def test_an_array_of_the_host_reaches_the_device(torch: Any, simulator: Any) -> None:
    pool = BatchedPool(simulator())
    action = stepped(torch, pool)
    shape = tuple(action.shape)
    for wrong in (torch.ones(shape), np.ones(shape, np.float32)):
        with pytest.raises(ActionError, match=r"action is on cpu.*, the simulator's arrays are on cuda:0"):
            pool.step(wrong)
    with pytest.raises(ActionError, match="leave env_id out"):
        pool.step(action, torch.arange(ROWS, device="cuda"))
    with pytest.raises(SpecError, match="numpy cannot read"):
        BatchedPool(simulator(), array="numpy").reset()


@pytest.mark.parametrize("library", ["jax", "cupy"])
def test_a_consumer_sees_the_simulator_half_done(torch: Any, library: str, request: Any) -> None:
    """The simulator is late on a stream of its own; the other library has to wait for it."""
    if library == "jax":
        request.getfixturevalue("jax")
    else:
        pytest.importorskip("cupy")

    class Late(Points):
        def step(self, action: Any) -> Any:
            torch.cuda._sleep(100_000_000)  # some 50 ms
            return super().step(action)

    import array_api_compat.torch

    pool = BatchedPool(Late(array_api_compat.torch, 3, "cuda"), array=library)
    with torch.cuda.stream(torch.cuda.Stream()):
        pool.reset()
        for expected in ([1, 2, 3], [2, 4, 6], [1, 6, 9]):
            obs, reward, *_ = pool.step(torch.tensor([1.0, 2.0, 3.0], device="cuda"))
            assert lists(reward + 0) == [expected]
            assert lists(obs[2, 0] + 0) == [expected[2]]  # row 2 does not end in three steps


def test_a_torch_action_is_copied_on_its_way_to_jax_on_the_gpu(torch: Any, jax: Any) -> None:
    venv = JaxPoints(num_envs=ROWS)
    pool = BatchedPool(venv, array="torch")
    pool.reset()
    action = torch.ones(ROWS, device="cuda")
    obs, reward, *_ = pool.step(action)
    assert address(venv.actions[0]) == action.data_ptr()
    assert obs.device.type == "cuda" and obs.data_ptr() == address(venv.obs)
    assert reward.unique().tolist() == [1]
