"""The raw classes of a generated module, which EnvPool's own Python layer is built on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import envs
import numpy as np
import pytest

from envpool_protocol.errors import ActionError, ConfigError, EnvError, NothingPendingError, PoolClosedError
from envpool_wrap.registry import find

STATE_KEYS = [
    "info:env_id",
    "info:players.env_id",
    "elapsed_step",
    "done",
    "reward",
    "discount",
    "step_type",
    "trunc",
]


@pytest.fixture
def raw(task_id: Any, backend: str) -> Any:
    """`raw(cls, **settings)` → (spec class, pool)."""
    pools: list[Any] = []

    def make(cls: type, **settings: Any) -> Any:
        module = find(task_id(cls)).module
        spec_class, pool_class = (getattr(module, f"_{cls.__name__}{end}") for end in ("Spec", "Pool"))
        values = dict(zip(spec_class._config_keys, spec_class._default_config_values, strict=True))
        values |= {"backend": backend, **settings}
        pools.append(pool_class(spec_class(tuple(values.values()))))
        return spec_class, pools[-1]

    yield make
    for pool in pools:
        pool._close()


def test_keys_are_not_envpools(raw: Any) -> None:
    spec, pool = raw(envs.Counting)
    assert spec._state_keys == pool._state_keys == [*STATE_KEYS, "obs"]
    assert spec._action_keys == pool._action_keys == ["env_id", "players.env_id", "action"]
    assert {"num_envs", "batch_size", "base_path", "env_seed", "gym_reset_return_info"} <= set(
        spec._config_keys
    )
    assert len(spec._config_keys) == len(spec._default_config_values)


def test_a_nested_leaf_has_not_envpools_name(raw: Any) -> None:
    spec, _ = raw(envs.Nested)
    assert set(spec._state_keys) >= {"obs:camera", "obs:arm.0", "obs:arm.1.grip", "obs:half"}
    assert set(spec._action_keys) >= {"action.camera", "action.arm.0"}


def test_specs_do_not_tell_dtype_shape_and_bounds(raw: Any) -> None:
    spec, pool = raw(envs.Gated, num_envs=2)
    state = dict(zip(spec._state_keys, pool._spec._state_spec, strict=True))
    action = dict(zip(spec._action_keys, pool._spec._action_spec, strict=True))
    assert state["obs"] == (np.dtype(np.float64), [2], (-np.inf, np.inf), ([], []))
    assert state["done"][:2] == (np.dtype(bool), [])
    assert state["reward"][:2] == (np.dtype(np.float32), [])
    assert state["info:env_id"][:2] == (np.dtype(np.int32), [])
    assert state["discount"] == (np.dtype(np.float32), [], (0.0, 1.0), ([], []))
    assert action["action"] == (np.dtype(np.int64), [], (-2, 2), ([], []))
    assert pool._spec._config_values[spec._config_keys.index("num_envs")] == 2


def test_bounds_per_element_are_lost(raw: Any) -> None:
    spec, pool = raw(envs.Nested)
    state = dict(zip(spec._state_keys, pool._spec._state_spec, strict=True))
    key = next(key for key in state if "odd" in key)
    assert state[key] == (np.dtype(np.int64), [2, 2], (0, 4), ([0, 0, 0, 0], [1, 2, 3, 4]))
    assert state["obs:arm.1.on"] == (np.dtype(np.int8), [3], (0, 1), ([], []))


def test_a_row_comes_back_in_another_env(raw: Any) -> None:
    spec, pool = raw(envs.Counting, num_envs=2, max_episode_steps=3)

    def recv() -> dict[str, Any]:
        return dict(zip(spec._state_keys, pool._recv(), strict=True))

    ids = np.arange(2, dtype=np.int32)
    pool._reset(ids)
    first = recv()
    assert first["obs"].tolist() == [[0, 0, 0], [1, 0, 0]]
    assert first["step_type"].tolist() == [0, 0]
    seen = []
    for _ in range(3):
        pool._send([ids, ids, np.full((2, 1), 0.5, np.float32)])
        seen.append(recv())
    assert [batch["done"].tolist() for batch in seen] == [[False, False], [True, False], [False, True]]
    # Env 1 ends by itself in the very step that is its last one: a real end.
    assert [batch["trunc"].tolist() for batch in seen] == [[False, False]] * 3
    assert [batch["discount"].tolist() for batch in seen] == [[1, 1], [0, 1], [1, 0]]
    assert [batch["step_type"].tolist() for batch in seen] == [[1, 1], [2, 1], [0, 2]]
    assert seen[1]["info:players.env_id"].tolist() == [0, 1]
    assert seen[1]["reward"].tolist() == [20, 21]


def test_a_time_limit_looks_like_an_end(raw: Any) -> None:
    spec, pool = raw(envs.Gated, max_episode_steps=1)
    pool._reset(np.array([0], np.int32))
    pool._recv()
    pool._send([np.array([0], np.int32), np.array([0], np.int32), np.array([0])])
    state = dict(zip(spec._state_keys, pool._recv(), strict=True))
    assert (state["done"].tolist(), state["trunc"].tolist(), state["discount"].tolist()) == (
        [True],
        [True],
        [1],
    )


def test_env_seed_does_not_reach_the_envs(raw: Any) -> None:
    _, pool = raw(
        envs.Faulty, num_envs=2, env_seed=[11, 5], env_kwargs={"fail_in": "_seed_envpool", "fail_at": 0}
    )
    pool._reset(np.arange(2, dtype=np.int32))
    with pytest.raises(EnvError) as caught:
        pool._recv()
    assert [error.seed for error in caught.value.errors] == [11, 5]
    assert len(caught.value.result) == len(STATE_KEYS) + 1


@pytest.mark.parametrize(
    "setting",
    [{"autoreset_mode": "disabled"}, {"on_error": "restart"}, {"episode_stats": True}, {"infos": "list"}],
)
def test_a_setting_without_a_place_is_ignored(setting: dict[str, Any], raw: Any) -> None:
    key, value = next(iter(setting.items()))
    with pytest.raises(ConfigError, match=f"{key}={value!r}: EnvPool's own layer has no place for it"):
        raw(envs.Counting, **setting)


def test_the_batch_size_of_a_synchronous_pool_is_not_envpools(raw: Any) -> None:
    spec, pool = raw(envs.Counting, num_envs=3)
    settings = dict(zip(spec._config_keys, pool._spec._config_values, strict=True))
    assert settings["batch_size"] == 3


def test_frames_of_the_raw_pool_are_those_of_other_envs(raw: Any) -> None:
    _, pool = raw(envs.Counting, num_envs=3)
    frames = pool._render(np.array([2, 0], np.int32), 0, 0, -1)
    assert (frames.shape, frames.dtype) == ((2, 2, 3, 3), np.uint8)
    assert frames[:, 0, 0, 0].tolist() == [2, 0]
    for width, height, camera in [(84, 0, -1), (0, 84, -1), (0, 0, 1)]:
        with pytest.raises(ConfigError, match="leave render_width"):
            pool._render(np.array([0], np.int32), width, height, camera)


def test_the_raw_pool_takes_nonsense(raw: Any) -> None:
    _, pool = raw(envs.Counting, num_envs=2)
    with pytest.raises(NothingPendingError):
        pool._recv()
    ids = np.arange(2, dtype=np.int32)
    with pytest.raises(ActionError, match="expected 1 action arrays, found 0"):
        pool._send([ids, ids])
    with pytest.raises(ActionError, match="env_id 2 is out of range"):
        pool._reset(np.array([2], np.int32))
    pool._close()
    pool._close()
    with pytest.raises(PoolClosedError):
        pool._reset(ids)


def test_a_raw_pool_that_is_not_closed_crashes_the_exit(task_id: Any, backend: str) -> None:
    code = f"""
import numpy as np
from envpool_wrap.registry import find
module = find({task_id(envs.Counting)!r}).module
spec = module._CountingSpec
values = dict(zip(spec._config_keys, spec._default_config_values)) | dict(num_envs=2, backend={backend!r})
pool = module._CountingPool(spec(tuple(values.values())))
pool._reset(np.arange(2, dtype=np.int32))
print(len(pool._recv()))
pool._reset(np.arange(2, dtype=np.int32))  # still in flight
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "9", "")
