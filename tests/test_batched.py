"""Batched simulators behind the pool's API, in NumPy; torch and JAX are for `make test-all`."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from dm_env import StepType
from gymnasium.vector import AutoresetMode, VectorEnv
from simulators import (
    ACTION,
    SIMULATORS,
    FakeVecTask,
    JaxPoints,
    Nested,
    OnAnotherDevice,
    Points,
    address,
    heavy,
    lists,
    torch_points,
)

from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
)
from envpool_wrap.integrations.batched import BatchedDMPool, BatchedGymnasiumPool, BatchedPool

# ---- the rules of each mode ----


@pytest.mark.parametrize(
    ("simulator", "array"),
    [
        ("numpy", "native"),
        ("numpy", "numpy"),
        *(heavy(one, other) for one in SIMULATORS for other in ("native", "torch", "jax", "numpy")),
    ],
)
def test_points_in_same_step_mode_are_other_numbers_or_copied(simulator: str, array: str) -> None:
    venv = SIMULATORS[simulator]()
    pool = BatchedPool(venv, array=array)
    obs, info = pool.reset(seed=3)
    assert lists(obs, info["elapsed_step"], info["env_id"]) == [[[0, 0]] * 3, [0, 0, 0], [0, 1, 2]]
    kept = []
    for _ in range(3):
        obs, *columns, info = pool.step(ACTION)
        if (simulator, array) != ("numpy", "jax"):  # JAX copies what is not aligned as it wants it
            assert address(obs) == address(venv.obs)
        kept.append((*columns, info["elapsed_step"]))
    library = simulator if array == "native" else array
    assert {type(one).__module__.partition(".")[0].removesuffix("lib") for one in kept[0]} == {library}
    rewards, terminated, truncated, elapsed = zip(*kept, strict=True)
    assert lists(*rewards) == [[1, 2, 3], [2, 4, 6], [1, 6, 9]], "they are the simulator's own memory"
    assert lists(*terminated) == [[False] * 3, [True, False, False], [False, True, False]]
    assert lists(*truncated) == [[False] * 3] * 3
    assert lists(*elapsed) == [[1, 1, 1], [2, 2, 2], [1, 3, 3]]
    assert venv.seeds == [3]


@pytest.mark.parametrize("array", ["native", heavy("torch")])
def test_gymnasiums_cart_pole_differs_from_itself_in_a_pool(array: str) -> None:
    def cart_poles() -> Any:
        return gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point")

    bare, pool = cart_poles(), BatchedPool(cart_poles(), array=array)
    assert np.array_equal(bare.reset(seed=1)[0], np.asarray(pool.reset(seed=1)[0]))
    action, lengths = np.array([0, 1, 0]), np.zeros(3, int)
    over = np.zeros(3, bool)
    first_end = None
    for step in range(40):
        expected = bare.step(action)
        *found, info = pool.step(action)
        for one, other in zip(expected[:4], found, strict=True):
            assert np.array_equal(one, np.asarray(other)) and np.asarray(other).dtype == one.dtype
        lengths = np.where(over, 0, lengths + 1)
        over = expected[2] | expected[3]
        assert np.asarray(info["elapsed_step"]).tolist() == lengths.tolist()
        if first_end is None and over.any():
            first_end = step, int(lengths[over][0])
    assert first_end == (8, 9)


@pytest.mark.integration
def test_isaac_gyms_contract_is_read_otherwise() -> None:
    torch = pytest.importorskip("torch")
    from envpool_wrap.integrations.isaac import from_isaac_gym

    task = FakeVecTask()
    pool = BatchedPool(from_isaac_gym(task))
    obs, info = pool.reset()
    assert obs.data_ptr() == task.obs_buf.data_ptr()
    assert lists(obs[:, 0], info["elapsed_step"]) == [[0] * 4, [0] * 4]
    expected = [
        ([1, 1, 1, 1], [2, 2, 2, 2], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]),
        ([0, 2, 2, 2], [0, 3, 3, 3], [0, 1, 0, 0], [0, 0, 0, 0], [0, 2, 2, 2]),
        ([1, 0, 3, 3], [2, 0, 4, 4], [1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 3, 3]),
        ([0, 1, 0, 4], [0, 2, 0, 5], [0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 4]),
        ([1, 2, 1, 0], [2, 3, 2, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 2, 1, 0]),
        ([0, 0, 2, 1], [0, 0, 3, 2], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 1]),
    ]
    for row in expected:
        obs, reward, terminated, truncated, info = pool.step(torch.ones(4, 1))
        assert obs.data_ptr() == task.obs_buf.data_ptr()
        assert tuple(lists(obs[:, 0], reward, terminated.int(), truncated.int(), info["elapsed_step"])) == row
        assert (terminated.dtype, truncated.dtype) == (torch.bool, torch.bool)


class Blinking(Points):
    """Next-step mode; every row ends in every step, that which resets it included."""

    metadata: ClassVar = {"autoreset_mode": "next_step"}

    def step(self, action: Any) -> Any:
        obs, *_ = super().step(action)
        ones = np.ones(self.num_envs, bool)
        return obs, np.full(self.num_envs, np.nan, np.float32), ones, ones, {}


def test_a_row_that_ends_in_the_step_that_resets_it_is_counted_on() -> None:
    pool = BatchedPool(Blinking())
    pool.reset()
    pool.step(ACTION)
    for _ in range(2):  # the simulator says that it is over, so it resets the row again
        _, reward, terminated, truncated, info = pool.step(ACTION)
        assert lists(reward, terminated | truncated, info["elapsed_step"]) == [[0] * 3, [False] * 3, [0] * 3]


def test_rows_of_a_mask_alone_are_reset_and_counted_from_0() -> None:
    pool = BatchedGymnasiumPool(Nested())
    pool.reset()
    action = {"go": np.array([1, 1, 0, 1]), "push": np.zeros((4, 2), np.float32)}
    for _ in range(3):
        _, _, terminated, _, info = pool.step(action)
    assert lists(terminated, info["elapsed_step"]) == [[True, True, False, True], [3, 3, 3, 3]]
    options = {"reset_mask": terminated}
    obs, info = pool.reset(options=options)
    assert options == {"reset_mask": terminated}
    assert lists(obs["n"], info["elapsed_step"]) == [[0, 0, 0, 0], [0, 0, 3, 0]]
    assert pool.step(action)[-1]["elapsed_step"].tolist() == [1, 1, 4, 1]


@pytest.mark.integration
def test_a_mask_of_another_library_reaches_the_simulator_as_it_is() -> None:
    torch = pytest.importorskip("torch")
    pool = BatchedPool(Nested(), array="torch")
    pool.reset()
    obs, info = pool.reset(options={"reset_mask": torch.tensor([True, False, False, True])})  # Nested asserts
    assert all(isinstance(leaf, torch.Tensor) for leaf in (*obs.values(), info["elapsed_step"]))


# ---- the pool's API ----


def test_send_and_recv_are_other_halves_of_step() -> None:
    pool, other = BatchedPool(Points()), BatchedPool(Points())
    pool.async_reset()
    obs, reward, terminated, truncated, info = pool.recv()
    assert lists(obs, reward, terminated | truncated) == [[[0, 0]] * 3, [0] * 3, [False] * 3]
    other.reset()
    for _ in range(3):
        pool.send(ACTION, info["env_id"])
        *found, info = pool.recv()
        assert lists(*found) == lists(*other.step(ACTION)[:-1])
    assert pool.stats() | {"step_seconds": 0, "caller_inside_seconds": 0} == {
        "batches": 4,
        "resets": 1,
        "in_flight": 0,
        "step_seconds": 0,
        "caller_inside_seconds": 0,
    }
    assert 0 < pool.stats()["step_seconds"] < pool.stats()["caller_inside_seconds"]


def test_the_pool_does_not_tell_what_it_is() -> None:
    with BatchedPool(Points(), seed=5) as pool:
        assert len(pool) == pool.num_envs == 3 and not pool.is_async
        assert pool.all_env_ids.tolist() == [0, 1, 2]
        assert pool.config == {
            "num_envs": 3,
            "batch_size": 3,
            "array": "native",
            "autoreset_mode": "same_step",
            "copy": False,
            "seed": 5,
        }
        assert pool.spec.config.seed == 5
        assert pool.spec.observation_space is pool.observation_space is Points.single_observation_space
        assert pool.metadata == {"autoreset_mode": AutoresetMode.SAME_STEP}
        assert repr(pool) == "BatchedPool(Points, num_envs=3, autoreset_mode=same_step, not reset yet)"
        pool.reset()
        assert repr(pool).endswith("Arrays(numpy, cpu))")
    assert repr(pool).endswith("closed)")


def test_a_reset_that_fails_takes_the_seed_with_it() -> None:
    class Failing(Points):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            answer = super().reset(seed=seed, options=options)
            if len(self.seeds) == 1:
                raise ZeroDivisionError
            return answer

    venv = Failing()
    pool = BatchedPool(venv, seed=5)
    with pytest.raises(ZeroDivisionError):
        pool.reset()
    pool.reset()
    assert venv.seeds == [5, 5]


def test_seeds_are_lost_or_given_twice() -> None:
    venv = Points()
    pool = BatchedPool(venv, seed=5)
    pool.reset()
    pool.reset()
    pool.reset(seed=[1, 2, 3], options={"slow": True})
    assert (venv.seeds, venv.options) == ([5, None, [1, 2, 3]], [None, None, {"slow": True}])


def test_a_pool_of_the_gymnasium_face_is_no_vector_env() -> None:
    from gymnasium.wrappers.vector import RecordEpisodeStatistics

    pool = BatchedGymnasiumPool(Nested())
    assert isinstance(pool, VectorEnv) and pool.observation_space["n"].shape == (4,)
    assert pool.observation_space.contains(pool.reset()[0])
    pool.close()
    assert pool.closed
    envs = RecordEpisodeStatistics(BatchedGymnasiumPool(Points()))
    envs.reset(seed=1)
    infos = [envs.step(ACTION)[-1] for _ in range(2)]
    assert (infos[1]["episode"]["r"][0], infos[1]["episode"]["l"][0]) == (3, 2)
    envs.close()


def test_a_time_step_is_of_another_type() -> None:
    first, last = StepType.FIRST, StepType.LAST
    pool = BatchedDMPool(gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="vector_entry_point"))
    step = pool.reset(seed=1)
    assert lists(step.step_type, step.reward, step.discount) == [[first] * 3, [0] * 3, [1] * 3]
    types = []
    for _ in range(12):
        step = pool.step(np.array([0, 1, 0]))
        types.append(step.step_type)
        assert step.step_type.dtype == np.int32 and step.discount.dtype == np.float32
        assert np.array_equal(step.discount, step.step_type != last)
        assert np.array_equal(step.observation.elapsed_step == 0, step.step_type == first)
    assert last in types[8] and [row for row in np.stack(types).T.tolist() if [last, first] == row[8:10]]
    assert pool.observation_spec().obs.shape == (4,) and pool.action_spec().num_values == 2
    assert (pool.reward_spec().shape, pool.discount_spec().maximum) == ((), 1)
    points = BatchedDMPool(Points())
    points.reset()
    assert points.step(ACTION).observation.final_obs.shape == (3, 2)


# ---- what is refused ----


def refused(pool: BatchedPool, action: Any, message: str, env_id: Any = None) -> None:
    with pytest.raises(ActionError, match=message):
        pool.send(action, env_id)
    with pytest.raises(NothingPendingError):
        pool.recv()


def test_wrong_actions_are_sent() -> None:
    pool = BatchedPool(Points())
    refused(pool, ACTION, "nothing was reset yet")
    pool.reset()
    refused(pool, ACTION[:2], r"action: expected floats of shape \(3,\), found float32 of shape \(2,\)")
    refused(pool, ACTION[:, None], r"found float32 of shape \(3, 1\)")
    refused(pool, ACTION.astype(int), "expected floats .* found int64")
    refused(pool, [1.0, 2.0, 3.0], "action is a list: expected an array on cpu, of numpy or any library")
    pool.step(ACTION.astype(np.float64))


def test_wrong_nested_actions_are_sent() -> None:
    pool = BatchedPool(Nested())
    pool.reset()
    push = np.zeros((4, 2), np.float32)
    refused(pool, {"go": np.zeros(4, int)}, r"expected a dict with the keys \['go', 'push'\]")
    refused(pool, push, "expected a dict")
    refused(pool, {"go": np.zeros(4), "push": push}, r"action\.go: expected ints .* found float64")
    refused(pool, {"go": np.zeros(4, int), "push": push[:3]}, r"action\.push: .* found .* \(3, 2\)")
    pool.step({"go": np.zeros(4, np.int32), "push": push})


@pytest.mark.parametrize("env_id", [[0, 2, 1], [0, 1], [0, 1, 2, 3], 0, np.array([1, 2, 3]), "all"])
def test_other_env_ids_are_sent(env_id: Any) -> None:
    pool = BatchedPool(Points())
    pool.reset()
    refused(pool, ACTION, "its 3 envs at once and in order", env_id)
    with pytest.raises(ActionError, match="reset_mask"):
        pool.reset(env_id)
    for same in ([0, 1, 2], range(3), pool.all_env_ids, np.arange(3)):
        pool.step(ACTION, same)
        pool.reset(same)


@pytest.mark.integration
def test_a_gradient_goes_through_the_simulator() -> None:
    torch = pytest.importorskip("torch")
    for venv in (torch_points(), JaxPoints()):
        pool = BatchedPool(venv)
        pool.reset()
        refused(pool, torch.ones(3, requires_grad=True), r"requires grad.*action\.detach\(\)")
        pool.step(torch.ones(3, requires_grad=True).detach())


def test_env_ids_on_another_device_are_fetched() -> None:
    pool = BatchedPool(Points())
    pool.reset()
    refused(pool, ACTION, r"give info\['env_id'\] itself", OnAnotherDevice(pool.all_env_ids))


def test_an_action_on_another_device_is_copied() -> None:
    pool = BatchedPool(Points())
    pool.reset()
    refused(pool, OnAnotherDevice(ACTION), "action is on cuda:1, the simulator's arrays are on cpu")


@pytest.mark.integration
def test_a_tensor_on_another_device_is_copied() -> None:
    torch = pytest.importorskip("torch")
    pool = BatchedPool(torch_points())
    pool.reset()
    refused(pool, torch.ones(3, device="meta"), "action is on meta, the simulator's arrays are on cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"array": "tensorflow"}, "array='tensorflow': expected one of 'native', 'torch'"),
        ({"copy": "yes"}, "copy='yes'"),
        ({"seed": [1, 2]}, "seed is a list of 2 for 3 envs"),
        ({"seed": np.random.SeedSequence(1)}, "a simulator takes an int, or a list of 3 ints"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_wrong_settings_are_taken(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchedPool(Points(), **settings)


def test_wrong_resets_are_sent() -> None:
    venv = Points()
    pool = BatchedPool(venv)
    with pytest.raises(ActionError, match="nothing was reset yet"):
        pool.reset(options={"reset_mask": np.ones(3, bool)})
    pool.reset()
    for mask, message in (
        (np.ones(2, bool), r"shape \(2,\)"),
        (np.ones(3), "found float64"),
        ([True], "a list"),
    ):
        with pytest.raises(ActionError, match=rf"reset_mask.*{message}"):
            pool.reset(options={"reset_mask": mask})
    with pytest.raises(ActionError, match=r"options=\[\{\}\]: expected a dict"):
        pool.reset(options=[{}])
    with pytest.raises(ConfigError, match="seed='x'"):
        pool.reset(seed="x")
    assert len(venv.seeds) == 1
    pool.step(ACTION)


def test_calls_out_of_order_are_lost() -> None:
    venv = Points()
    pool = BatchedPool(venv)
    with pytest.raises(NothingPendingError):
        pool.recv()
    pool.reset()
    pool.send(ACTION)
    for call in (lambda: pool.send(ACTION), pool.reset, pool.async_reset, lambda: pool.step(ACTION)):
        with pytest.raises(PendingCallError, match=r"recv\(\) it first"):
            call()
    assert pool.stats()["in_flight"] == 3
    assert pool.recv()[1].tolist() == [1, 2, 3]
    pool.close()
    pool.close()
    for call in (lambda: pool.send(ACTION), pool.recv, pool.reset, pool.async_reset, pool.render):
        with pytest.raises(PoolClosedError):
            call()


def test_an_exception_of_the_simulator_is_another_or_leaves_something_in_flight() -> None:
    class Failing(Points):
        def step(self, action: Any) -> Any:
            if not action.any():
                raise ZeroDivisionError("diverged")
            return super().step(action)

    pool = BatchedPool(Failing())
    pool.reset()
    with pytest.raises(ZeroDivisionError, match="diverged"):
        pool.step(ACTION * 0)
    assert pool.step(ACTION)[1].tolist() == [1, 2, 3]


def test_two_threads_step_one_simulator() -> None:
    inside, done = threading.Event(), threading.Event()

    class Slow(Points):
        def step(self, action: Any) -> Any:
            inside.set()
            assert done.wait(30)
            return super().step(action)

    pool = BatchedPool(Slow())
    pool.reset()
    thread = threading.Thread(target=pool.step, args=(ACTION,))
    thread.start()
    try:
        assert inside.wait(30)
        with pytest.raises(PendingCallError, match="another thread"):
            pool.step(ACTION)
    finally:
        done.set()
        thread.join()
    assert pool.step(ACTION)[-1]["elapsed_step"].tolist() == [2, 2, 2]


# ---- imports ----


def test_a_library_is_imported_that_nobody_asked_for() -> None:
    code = (
        "import sys, envpool_wrap, envpool_protocol;"
        "assert not {'torch', 'jax', 'ray', 'warp', 'gymnasium'} & set(sys.modules);"
        "import envpool_wrap.integrations.batched, envpool_wrap.integrations.isaac;"
        "assert not {'torch', 'jax', 'ray', 'warp', 'isaacgym'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_extra_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.delitem(sys.modules, "envpool_wrap.batched.arrays")
    monkeypatch.setitem(sys.modules, "array_api_compat", None)
    with pytest.raises(
        ImportError, match=r"array_api_compat is not installed: .*'envpool-wrapper\[batched\]'"
    ):
        importlib.import_module("envpool_wrap.batched.arrays")
