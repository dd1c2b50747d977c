"""What goes into a simulator and comes out of it: whose memory, on which device, as the spaces say."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from simulators import (
    ACTION,
    SIMULATORS,
    Foreign,
    ForeignPoints,
    JaxPoints,
    OnAnotherDevice,
    Points,
    address,
    heavy,
    lists,
    torch_points,
)

from envpool_protocol.errors import ConfigError, SpecError
from envpool_wrap.integrations.batched import BatchedDMPool, BatchedGymnasiumPool, BatchedPool

# ---- whose memory ----


@pytest.mark.parametrize("library", ["numpy", heavy("torch"), heavy("jax")])
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


@pytest.mark.integration
@pytest.mark.parametrize("copy", [False, True])
def test_such_arrays_in_info_are_left_as_they_are_or_written_again(copy: bool) -> None:
    import array_api_compat.torch as xp

    venv = ForeignPoints(xp)
    pool = BatchedPool(venv, array="torch", copy=copy)
    pool.reset()
    infos = [pool.step(xp.asarray(ACTION))[-1] for _ in range(3)]
    assert {type(info[key]) for info in infos for key in ("final_obs", "_final_obs")} == {type(venv.obs)}
    assert [info["name"] for info in infos] == ["points"] * 3
    assert lists(infos[1]["_final_obs"]) == [[True, False, False] if copy else [False, True, False]]
    assert lists(infos[1]["final_obs"]) == [[[2, 2], [4, 2], [6, 2]] if copy else [[1, 1], [6, 3], [9, 3]]]
    assert (address(infos[1]["final_obs"]) == address(venv.final)) is not copy


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


# ---- what is refused ----


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
