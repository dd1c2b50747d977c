"""Batched simulators behind the pool's API, in NumPy; torch and JAX are for `make test-all`."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from dm_env import StepType
from envs import Counting
from gymnasium.vector import AutoresetMode, VectorEnv
from simulators import FakeVecTask, Foreign, ForeignPoints, JaxPoints, Nested, Points, address, lists

import envpool_wrap
from envpool_protocol.errors import (
    ActionError,
    ConfigError,
    DuplicateEnvError,
    NothingPendingError,
    PendingCallError,
    PoolClosedError,
    RegistrationError,
    SpecError,
    UnknownEnvError,
)
from envpool_wrap import registry
from envpool_wrap.integrations.batched import (
    BatchedDMPool,
    BatchedGymnasiumPool,
    BatchedPool,
    register_batched,
)

ACTION = np.array([1, 2, 3], np.float32)


def torch_points() -> Points:
    import array_api_compat.torch

    return Points(array_api_compat.torch)


def heavy(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.integration)


SIMULATORS: dict[str, Callable[[], Points]] = {"numpy": Points, "torch": torch_points, "jax": JaxPoints}
every_library = pytest.mark.parametrize("library", ["numpy", heavy("torch"), heavy("jax")])


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


# ---- whose memory ----


@every_library
def test_what_is_kept_of_a_step_is_written_again(library: str) -> None:
    pool = BatchedPool(SIMULATORS[library](), copy=True)
    pool.reset()
    kept = [pool.step(ACTION) for _ in range(4)]
    obs, _, _, _, info = kept[1]
    assert lists(obs, info["final_obs"]) == [[[0, 0], [4, 2], [6, 2]], [[2, 2], [4, 2], [6, 2]]]
    assert lists(kept[0][0]) == [[[1, 1], [2, 1], [3, 1]]]


def test_without_copy_observation_and_final_obs_are_copied() -> None:
    venv = Points()
    pool = BatchedPool(venv)
    assert pool.reset()[0] is venv.obs
    obs, *_, info = pool.step(ACTION)
    assert obs is venv.obs and info["final_obs"] is venv.final and info["name"] == "points"


@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
@pytest.mark.parametrize("library", ["numpy", heavy("torch")])
def test_arrays_that_a_user_writes_change_the_count(library: str, mode: str) -> None:
    pool = BatchedPool(SIMULATORS[library](), autoreset_mode=mode)
    pool.reset()[1]["elapsed_step"][:] = 7
    info = pool.step(ACTION)[-1]
    info["elapsed_step"][:] = 7
    assert lists(pool.step(ACTION)[-1]["elapsed_step"]) == [[2, 2, 2]]


def test_the_simulators_own_info_is_changed() -> None:
    own = {"score": np.zeros(3)}

    class Telling(Points):
        def step(self, action: Any) -> Any:
            return (*super().step(action)[:4], own)

    pool = BatchedPool(Telling(), copy=True)
    pool.reset()
    info = pool.step(ACTION)[-1]
    assert set(own) == {"score"} and info["score"] is not own["score"]


@pytest.mark.integration
def test_an_action_of_the_simulators_library_is_replaced() -> None:
    torch = pytest.importorskip("torch")
    venv = torch_points()
    pool = BatchedPool(venv)
    pool.reset()
    action = torch.ones(3)
    pool.step(action)
    pool.step(np.ones(3, np.float32))
    assert venv.actions[0] is action and isinstance(venv.actions[1], torch.Tensor)


@pytest.mark.integration
def test_a_torch_action_is_copied_on_its_way_to_jax() -> None:
    torch = pytest.importorskip("torch")
    venv = JaxPoints()
    pool = BatchedPool(venv, array="torch")
    pool.reset()
    action = torch.ones(3)
    pool.step(action)
    assert address(venv.actions[0]) == address(action) and not isinstance(venv.actions[0], torch.Tensor)


@pytest.mark.integration
def test_arrays_that_only_hold_memory_are_refused_or_copied() -> None:
    """As Warp's: they have DLPack and no arithmetic."""
    import array_api_compat.torch as xp

    venv = ForeignPoints(xp)
    pool = BatchedPool(venv, array="torch")
    obs, _ = pool.reset()
    assert address(obs) == address(venv.obs)
    assert [pool.step(xp.asarray(ACTION))[1].tolist() for _ in range(2)] == [[1, 2, 3], [2, 4, 6]]
    with pytest.raises(SpecError, match=r"obs is a simulators\.Foreign.*array='torch'"):
        BatchedPool(ForeignPoints(xp)).reset()


# ---- no host read ----


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
@pytest.mark.parametrize("face", [BatchedPool, BatchedGymnasiumPool, BatchedDMPool])
def test_a_step_reads_a_value_on_the_host(mode: str, face: Any) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        """What would wait for a device: a scalar of it, or a copy to the host."""

        seen: list[str] = []

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function.overloadpacket.__name__ in (
                "_local_scalar_dense",
                "is_nonzero",
                "nonzero",
                "_to_copy",
            ):
                self.seen.append(f"{function} {kwargs}")
            return function(*args, **(kwargs or {}))

    pool = face(torch_points(), autoreset_mode=mode, copy=True)
    pool.reset()
    with Reads() as reads:
        bool(torch.ones(1))
        assert len(reads.seen) == 1, "the mode does not see a read"
        for _ in range(5):
            pool.step(torch.ones(3), pool._simulator.env_id)
        pool.reset()
    casts = [one for one in reads.seen[1:] if "device" not in one.replace("'device': None", "")]
    assert [one for one in reads.seen[1:] if one not in casts or "_to_copy" not in one] == []


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["next_step", "same_step", "disabled"])
@pytest.mark.parametrize("face", [BatchedPool, BatchedGymnasiumPool, BatchedDMPool])
def test_a_step_in_jax_brings_constants_to_the_device(mode: str, face: Any) -> None:
    jax = pytest.importorskip("jax")
    pool = face(JaxPoints(), autoreset_mode=mode, copy=True)
    pool.reset()
    action = jax.numpy.asarray(ACTION)
    pool.step(action)
    with jax.transfer_guard("disallow"):
        for _ in range(5):
            pool.step(action, pool._simulator.env_id)


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


class OnAnotherDevice(Foreign):
    def __dlpack_device__(self) -> Any:
        return 2, 1

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the host waited for it")


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


def test_a_simulator_on_another_device_is_read_through_the_host() -> None:
    class Far(Points):
        def reset(self, **settings: Any) -> Any:
            return OnAnotherDevice(super().reset(**settings)[0]), {}

    class Unreadable(Foreign):
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("it is elsewhere")

    class Closed(Points):
        def reset(self, **settings: Any) -> Any:
            return Unreadable(super().reset(**settings)[0]), {}

    with pytest.raises(SpecError, match=r"obs: numpy cannot read .*it is elsewhere"):
        BatchedPool(Closed(), array="numpy").reset()

    class Mixed(Points):
        def step(self, action: Any) -> Any:
            obs, reward, *rest = super().step(action)
            return obs, OnAnotherDevice(reward), *rest

    pool = BatchedPool(Mixed())
    pool.reset()
    with pytest.raises(SpecError, match="reward is on cuda:1, the simulator's arrays are on cpu"):
        pool.step(ACTION)


def test_a_simulator_that_does_not_publish_its_mode_is_guessed_at() -> None:
    class Silent(Points):
        metadata: ClassVar = {}

    with pytest.raises(
        SpecError, match=r'Silent does not say .*"same_step" if .*"next_step" if .*"disabled"'
    ):
        BatchedPool(Silent())
    for mode in ("same_step", "SameStep", AutoresetMode.SAME_STEP):
        assert (
            BatchedPool(Silent(), autoreset_mode=mode).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        )
    assert BatchedPool(Points(), autoreset_mode="disabled").config["autoreset_mode"] == "disabled"
    with pytest.raises(ConfigError, match="Nearest: 'same_step'"):
        BatchedPool(Silent(), autoreset_mode="some_step")


BAD_STEPS = {
    r"step\(\) returned a tuple of 4": lambda s: s[:4],
    r"step\(\) returned a list": list,
    r"reward: expected numbers of shape \(3,\), found float32 of shape \(3, 1\)": lambda s: (
        s[0],
        s[1][:, None],
        *s[2:],
    ),
    r"terminated: expected bool .* found int64": lambda s: (*s[:2], s[2].astype(int), *s[3:]),
    r"truncated is a list": lambda s: (*s[:3], [False] * 3, s[4]),
    r"info is a int; expected a dict": lambda s: (*s[:4], 3),
    r"obs: expected float32 of shape \(3, 2\), found float64": lambda s: (s[0].astype(float), *s[1:]),
    r"obs: expected float32 of shape \(3, 2\), found float32 of shape \(2, 2\)": lambda s: (s[0][:2], *s[1:]),
}


@pytest.mark.parametrize("message", BAD_STEPS)
def test_a_step_that_is_not_as_the_spaces_say_is_passed_on(message: str) -> None:
    class Wrong(Points):
        wrong = True

        def step(self, action: Any) -> Any:
            answer = super().step(action)
            return BAD_STEPS[message](answer) if self.wrong else answer

    venv = Wrong()
    pool = BatchedPool(venv)
    pool.reset()
    with pytest.raises(SpecError, match=message):
        pool.step(ACTION)
    venv.wrong = False
    pool.step(ACTION)


def test_a_first_observation_that_is_not_as_the_space_says_is_passed_on() -> None:
    class Wide(Points):
        single_observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)

    class Listed(Points):
        def reset(self, **settings: Any) -> Any:
            return super().reset(**settings)[0].tolist(), {}

    class Old(Points):
        def reset(self, **settings: Any) -> Any:
            return super().reset(**settings)[0]

    for venv, message in (
        (Wide(), r"obs: expected float32 of shape \(3, 3\), found float32 of shape \(3, 2\)"),
        (Listed(), "obs is a list"),
        (Old(), r"reset\(\) returned a ndarray; expected \(obs, info\)"),
    ):
        with pytest.raises(SpecError, match=message):
            BatchedPool(venv).reset()


def test_what_is_no_vector_env_is_taken() -> None:
    with pytest.raises(SpecError, match=r"int has no num_envs, .* expected a gymnasium\.vector\.VectorEnv"):
        BatchedPool(3)

    class Talking(Points):
        single_observation_space = gymnasium.spaces.Text(5)

    with pytest.raises(SpecError, match="obs: no array on a device holds Text"):
        BatchedPool(Talking())


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


# ---- by name ----


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Any:
    from gymnasium.envs import registration

    monkeypatch.setattr(registry, "MAKERS", dict(registry.MAKERS))
    monkeypatch.setattr(registration, "registry", dict(registration.registry))
    return register_batched


def test_a_registered_simulator_is_not_found(register: Any, task_id: Any) -> None:
    made: list[dict[str, Any]] = []

    def points(num_envs: int, device: str | None = None, size: int = 1) -> Points:
        made.append({"num_envs": num_envs, "device": device, "size": size})
        return Points(num_envs=num_envs)

    assert register("Points", points, size=2) == "Points"
    assert "Points" in envpool_wrap.list_all_envs() and task_id(Counting) in envpool_wrap.list_all_envs()
    faces = {"gym": BatchedPool, "gymnasium": BatchedGymnasiumPool, "dm": BatchedDMPool}
    for env_type, face in faces.items():
        pool = envpool_wrap.make("Points", env_type=env_type, num_envs=5, device="cpu", batch_size=5)
        assert type(pool) is face and len(pool) == 5
        assert made[-1] == {"num_envs": 5, "device": "cpu", "size": 2}
        assert pool.config["device"] == "cpu" and pool.config["size"] == 2 and pool.spec.config.seed == 42
        pool.reset()
        assert pool.venv.seeds == [42]
    pool = envpool_wrap.make_gym("Points", num_envs=2, seed=None, copy=True, size=3)
    assert pool.config["seed"] is not None and pool.config["copy"] and pool.config["size"] == 3
    with gymnasium.make_vec("envpool_wrap:Points", num_envs=2) as envs:
        assert envs.reset()[0].shape == (2, 2)


def test_a_factory_that_names_seed_and_mode_is_not_told_them(register: Any) -> None:
    class Told(Points):
        def __init__(self, seed: int, autoreset_mode: str) -> None:
            super().__init__()
            self.metadata = {"autoreset_mode": autoreset_mode}
            self.seed = seed

    register("Told", Told)
    pool = envpool_wrap.make("Told", "gym", seed=7, autoreset_mode="next_step")
    assert (pool.venv.seed, pool.config["autoreset_mode"]) == (7, "next_step")


def test_a_simulator_is_left_open_or_made_with_settings_that_it_ignores(register: Any) -> None:
    closed: list[Points] = []

    class Closing(Points):
        def close(self, **kwargs: Any) -> None:
            closed.append(self)

    def three() -> Points:
        return Closing()

    register("Three", three)
    register("Rows", Closing)
    for settings, message in (
        ({"num_envs": 3}, r"unexpected keyword argument 'num_envs'.*It takes no settings"),
        ({"backend": "thread"}, "unexpected keyword argument 'backend'"),
        ({"autoreset_mode": "next_step"}, "resets by 'same_step'"),
        ({"batch_size": 2}, "batch_size=2: Three steps its 3 envs at once"),
        ({"array": "tensorflow"}, "array='tensorflow'"),
        ({"seed": "x"}, "seed='x'"),
    ):
        with pytest.raises(ConfigError, match=message):
            envpool_wrap.make("Three", "gym", **settings)
    assert len(closed) == 4
    register("Ignoring", lambda **_: three())
    with pytest.raises(SpecError, match="made 3 envs; num_envs=4 was asked for"):
        envpool_wrap.make("Ignoring", "gym", num_envs=4)
    with pytest.raises(ConfigError, match=r"env_type='gymnasum'.* Nearest: 'gymnasium'"):
        envpool_wrap.make("Rows", "gymnasum")
    assert len(closed) == 5
    with pytest.raises(RegistrationError, match=r"'Rows' .* a simulator, which only make\(\) can make"):
        envpool_wrap.make_spec("Rows")


def test_two_simulators_share_a_name(register: Any, task_id: Any) -> None:
    register("One", Points)
    register("One", Points, num_envs=4)
    assert len(envpool_wrap.make("One", "gym")) == 4
    with pytest.raises(DuplicateEnvError, match=r"simulators\.Points already; register simulators\.Nested"):
        register("One", Nested)
    with pytest.raises(DuplicateEnvError, match="is a generated env"):
        register(task_id(Counting), Points)
    for name, factory in (("", Points), (3, Points), ("Two", Points())):
        with pytest.raises(RegistrationError):
            register(name, factory)
    with pytest.raises(UnknownEnvError):
        envpool_wrap.make("Two", "gym")


def test_gymnasiums_own_id_is_taken_over(register: Any) -> None:
    register("CartPole-v1", Points)
    envs = gymnasium.make_vec("CartPole-v1", num_envs=2)
    assert envs.observation_space.shape == (2, 4)
    envs.close()
    assert isinstance(envpool_wrap.make_gym("CartPole-v1"), BatchedPool)


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
