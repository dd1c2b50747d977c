"""Text: a str for the env, `<U{max_length}` in a batch, a tuple of str in Gymnasium's face."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import envpool_wrap
from envpool_protocol.errors import ActionError, EnvError, SpecError
from envpool_wrap.registry import find

SAID = spaces.Dict(say=spaces.Text(5, min_length=0), n=spaces.Discrete(3))


@pytest.fixture
def make_said(echo_task: Any) -> Iterator[Any]:
    pools: list[Any] = []

    def make_pool(env_type: str = "gym", **config: Any) -> Any:
        pools.append(envpool_wrap.make(echo_task(SAID), env_type=env_type, **config))
        return pools[-1]

    yield make_pool
    for pool in pools:
        pool.close()


def said(*texts: Any) -> dict[str, Any]:
    return {"say": list(texts), "n": np.zeros(len(texts), int)}


class Told:
    """A `_make_obs_envpool` that always returns the same, in whatever process."""

    def __init__(self, say: Any) -> None:
        self.obs = {"say": say, "n": 0}

    def __call__(self) -> Any:
        return self.obs


@pytest.mark.parametrize("batch_size", [0, 2])
def test_text_of_the_gym_face_is_no_array_of_fixed_length(
    make_said: Any, backend: str, batch_size: int
) -> None:
    pool = make_said(num_envs=3, backend=backend, batch_size=batch_size)
    pool.async_reset()
    while pool.stats()["in_flight"]:
        pool.recv(reset=True)
    pool.send(said("ab", "", "cdefg"))
    texts = {}
    while pool.stats()["in_flight"]:
        obs, *_, info = pool.recv()
        assert obs["say"].dtype == np.dtype("U5")
        assert obs["say"].shape == (len(info["env_id"]),)
        texts |= dict(zip(info["env_id"].tolist(), obs["say"].tolist(), strict=True))
    assert texts == {0: "ab", 1: "", 2: "cdefg"}


def test_text_is_copied_out_of_the_batch(make_said: Any) -> None:
    pool = make_said(num_envs=2)
    pool.reset()
    obs = pool.step(said("ab", "cd"))[0]["say"]
    assert not obs.flags.owndata
    pool.step(said("x", "y"))
    pool.close()
    gc.collect()
    assert obs.tolist() == ["ab", "cd"]


def test_text_of_the_dm_face_does_not_fit_its_spec(make_said: Any) -> None:
    pool = make_said("dm", num_envs=2)
    pool.reset()
    obs = pool.step(said("ab", "cdefg")).observation.obs["say"]
    assert obs.tolist() == ["ab", "cdefg"]
    assert (obs.dtype, obs.shape) == (np.dtype("U5"), (2,))
    spec = pool.observation_spec().obs["say"]
    assert (spec.dtype, spec.shape, pool.action_spec()["say"].dtype) == (obs.dtype, (), obs.dtype)
    for one in (spec, pool.action_spec()["say"], pickle.loads(pickle.dumps(spec)), spec.replace(name="x")):
        assert [one.validate(text).dtype for text in (*obs, "", "abc")] == [np.dtype("U5")] * 4
        for wrong in ("abcdef", b"ab", 3, ["ab"]):
            with pytest.raises(ValueError, match=r"Expected (dtype|shape)"):
                one.validate(wrong)


def test_text_of_the_raw_class_is_lost(echo_task: Any) -> None:
    found = find(echo_task(SAID))
    module, name = found.module, found.source.name
    spec_class = getattr(module, f"_{name}Spec")
    values = dict(zip(spec_class._config_keys, spec_class._default_config_values, strict=True))
    spec = spec_class(tuple((values | {"num_envs": 2}).values()))
    pool = getattr(module, f"_{name}Pool")(spec)
    ids = np.arange(2, dtype=np.int32)
    pool._reset(ids)
    pool._recv()
    actions = {"action.say": np.array(["ab", "c"]), "action.n": np.zeros(2, int)}
    pool._send([ids, ids, *(actions[key] for key in pool._action_keys[2:])])
    state = dict(zip(pool._state_keys, pool._recv(), strict=True))
    assert state["obs:say"].tolist() == ["ab", "c"]
    facts = dict(zip(pool._state_keys, spec._state_spec, strict=True))["obs:say"]
    assert facts[:2] == (np.dtype("U5"), [])
    pool._close()


def test_text_after_a_masked_reset_is_an_array(make_said: Any) -> None:
    pool = make_said("gymnasium", num_envs=3)
    first = pool.reset()[0]["say"]
    assert type(first) is tuple
    pool.step(said("ab", "cd", "ef"))
    obs, _ = pool.reset(options={"reset_mask": np.array([False, True, False])})
    assert obs["say"] == ("ab", first[1], "ef")


@pytest.mark.parametrize(
    "texts", [("ab", "c"), ["ab", "c"], np.array(["ab", "c"]), np.array(["ab", "c"], object)]
)
def test_texts_in_another_container_are_refused(make_said: Any, texts: Any) -> None:
    pool = make_said(num_envs=2)
    pool.reset()
    assert pool.step({"say": texts, "n": [0, 1]})[0]["say"].tolist() == ["ab", "c"]
    assert [type(action["say"]) for action in pool.get_attr("action")] == [str, str]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["ab", "abcdef"], r"action\.say: for env 1 expected a str of at most 5 .*, found 6: 'abcdef'"),
        (["ab", 3], r"action\.say: for env 1 expected a str of at most 5 characters, found 3"),
        (["ab", b"c"], r"for env 1 expected a str .* found b'c'"),
        (["ab", None], r"for env 1 expected a str .* found None"),
        (["ab\0", "c"], r"for env 0 expected a str that does not end with NUL"),
        (["ab"], r"action\.say: expected 2 str \(one per env\), found 1"),
        ("ab", r"action\.say: expected 2 str \(one per env\), found 'ab'"),
        (3, r"action\.say: expected 2 str \(one per env\), found 3"),
        (np.array("ab"), r"expected 2 str \(one per env\), found shape \(\), dtype <U2"),
        (np.array([["a", "b"]] * 2), r"for env 0 expected a str of .*found \['a', 'b'\]"),
        (np.zeros((2, 5), np.uint32), r"for env 0 expected a str of"),
    ],
)
def test_an_action_that_is_no_text_is_sent(make_said: Any, texts: Any, message: str) -> None:
    pool = make_said(num_envs=2)
    pool.reset()
    with pytest.raises(ActionError, match=message):
        pool.step({"say": texts, "n": [0, 0]})
    assert pool.step(said("a", "b"))[0]["say"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("abcdef", r"obs\.say: expected a str of at most 5 characters, found 6: 'abcdef'"),
        ("x" * 500, r"found 500: 'x{70,80}$"),
        (b"abc", r"obs\.say: expected a str of at most 5 characters, found b'abc'"),
        (7, r"obs\.say: expected a str .*found 7"),
        (None, r"obs\.say: expected a str .*found None"),
        (np.zeros(5, np.uint32), r"obs\.say: expected a str .*found shape \(5,\), dtype uint32"),
        (np.array("ab"), r"obs\.say: expected a str .*found shape \(\), dtype <U2"),
        ("ab\0", r"obs\.say: expected a str that does not end with NUL"),
    ],
)
def test_an_observation_that_is_no_text_is_returned(
    make_said: Any, backend: str, value: Any, message: str
) -> None:
    pool = make_said(num_envs=2, backend=backend)
    pool.reset()
    pool.set_attr("_make_obs_envpool", Told(value), env_id=1)
    with pytest.raises(EnvError, match="env 1: _make_obs_envpool raised SpecError") as caught:
        pool.step(said("ab", "cd"))
    assert isinstance(caught.value.__cause__, SpecError)
    with pytest.raises(SpecError, match=message):
        raise caught.value.__cause__
    assert caught.value.result[0]["say"].tolist() == ["ab", ""]


@pytest.mark.parametrize("value", ["abcde", "", "a\0b", "é\U0001f600\ud800", np.str_("np")])
def test_a_text_that_fits_is_refused_or_changed(make_said: Any, backend: str, value: str) -> None:
    pool = make_said(num_envs=2, backend=backend, check=False)
    pool.reset()
    pool.step(said("abcde", "abcde"))  # what was longer before must not show
    pool.set_attr("_make_obs_envpool", Told(value), env_id=1)
    assert pool.step(said("ab", "cd"))[0]["say"].tolist() == ["ab", value]
    assert pool.step(said(value, value))[0]["say"].tolist() == [value, value]
    assert [action["say"] for action in pool.get_attr("action")] == [value, value]


class Ending:
    """A `_done_envpool` that ends every episode after one step."""

    def __call__(self) -> bool:
        return True


def test_the_last_text_of_an_episode_is_lost(make_said: Any) -> None:
    for env_type in ("gym", "gymnasium", "dm"):
        pool = make_said(env_type, num_envs=2, autoreset_mode="same_step")
        pool.reset()
        first = pool.get_attr("first")[0]["say"]
        pool.set_attr("_done_envpool", Ending(), env_id=0)
        result = pool.step(said("ab", "cd"))
        obs = result.observation.obs if env_type == "dm" else result[0]
        assert list(obs["say"]) == [first, "cd"]
        if env_type == "gymnasium":
            final = result[4]["final_obs"]
            assert (final[0]["say"], type(final[0]["say"]), final[1]) == ("ab", str, None)
        else:
            final = result.observation.final_obs if env_type == "dm" else result[4]["final_obs"]
            assert final["say"].tolist() == ["ab", "cd"]
