"""Spaces as typed leaves and as JSON: `envpool_protocol/spec.py`."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given, settings
from hypothesis import strategies as st

from envpool_protocol.errors import SpecError
from envpool_protocol.spaces import space_description, space_from_description, space_spec
from envpool_protocol.spec import DTYPES, EnvSpec, Leaf

I64, I8, U8, F32 = (DTYPES[name] for name in ("int64", "int8", "uint8", "float32"))


@pytest.fixture
def gym_spaces() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("gym", exc_type=ImportError).spaces


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def rebuilt(space: Any, library: Any = "gymnasium") -> Any:
    return space_from_description(through_json(space_description(space)), library)


def assert_same_space(one: Any, two: Any) -> None:
    """Stricter than `==`: exact bounds, their bytes, dtype and the order of keys."""
    assert type(one).__name__ == type(two).__name__
    children = [getattr(space, "spaces", {}) for space in (one, two)]
    if isinstance(children[0], tuple):
        children = [dict(enumerate(inside)) for inside in children]
    assert list(children[0]) == list(children[1])
    for key in children[0]:
        assert_same_space(children[0][key], children[1][key])
    assert (one.shape, one.dtype) == (two.shape, two.dtype)
    assert getattr(one, "character_set", None) == getattr(two, "character_set", None)
    counts = ("n", "start", "nvec", "min_length", "max_length")
    for name in ("low", "high", "bounded_below", "bounded_above", *counts):
        values = [np.asarray(getattr(space, name, 0)) for space in (one, two)]
        assert values[0].dtype == values[1].dtype, name
        assert values[0].tobytes() == values[1].tobytes(), name


# Leaves


def test_dtype_codes_follow_the_engine() -> None:
    order = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float16 float32 float64"
    assert [(row.name, row.code) for row in DTYPES.values()] == [(n, i) for i, n in enumerate(order.split())]


@pytest.mark.parametrize("name", DTYPES)
def test_dtype_row_has_numpys_size_and_a_cpp_type_of_that_size(name: str) -> None:
    row = DTYPES[name]
    assert row.itemsize == np.dtype(name).itemsize == row.numpy.itemsize
    bits = {"bool": 8, "float": 32, "double": 64}.get(row.cpp_type)
    assert (bits or int("".join(filter(str.isdigit, row.cpp_type)))) == 8 * row.itemsize


LEAVES = [
    (spaces.Box(-1, 1, (3, 4)), Leaf("obs", F32, (3, 4), "array")),
    (spaces.Box(-np.inf, np.inf, ()), Leaf("obs", F32, (), "array")),
    (spaces.Box(0, 255, (2, 3, 4, 5), np.uint8), Leaf("obs", U8, (2, 3, 4, 5), "array")),
    (spaces.Box(0, 1, (0, 3)), Leaf("obs", F32, (0, 3), "array")),
    (spaces.Box(0, 1, (2,), np.dtype(">f4")), Leaf("obs", F32, (2,), "array")),
    (spaces.Discrete(3), Leaf("obs", I64, (), "discrete", 0, 2)),
    (spaces.Discrete(4, start=-2), Leaf("obs", I64, (), "discrete", -2, 1)),
    (spaces.Discrete(4, dtype=np.uint8), Leaf("obs", I64, (), "discrete", 0, 3)),
    (spaces.MultiDiscrete([3, 5]), Leaf("obs", I64, (2,), "array", (0, 0), (2, 4))),
    (
        spaces.MultiDiscrete([[3, 5], [1, 9]], np.int8, start=[[1, -7], [0, 100]]),
        Leaf("obs", I8, (2, 2), "array", (1, -7, 0, 100), (3, -3, 0, 108)),
    ),
    (spaces.MultiBinary(2), Leaf("obs", I8, (2,), "array", (0, 0), (1, 1))),
    (spaces.MultiBinary((2, 1)), Leaf("obs", I8, (2, 1), "array", (0, 0), (1, 1))),
    (spaces.Text(7, min_length=0, charset="ab"), Leaf("obs", DTYPES["uint32"], (7,), "text")),
]


@pytest.mark.parametrize(("space", "leaf"), LEAVES, ids=lambda value: str(value)[:40])
def test_leaf_has_the_spaces_dtype_shape_and_limits(space: Any, leaf: Leaf) -> None:
    spec = space_spec(space, "obs")
    assert spec.leaves == (leaf,)
    assert spec.single
    limits = [leaf.low, leaf.high] if isinstance(leaf.low, int) else [*(leaf.low or ()), *(leaf.high or ())]
    assert all(type(value) is int for value in limits)  # NumPy scalars would break templates and JSON


@pytest.mark.parametrize("name", DTYPES)
def test_box_of_every_dtype_becomes_its_row(name: str) -> None:
    (leaf,) = space_spec(spaces.Box(0, 1, (2, 3), np.dtype(name)), "obs").leaves
    assert leaf.dtype is DTYPES[name]
    assert (leaf.size, leaf.nbytes) == (6, 6 * np.dtype(name).itemsize)


def test_sizes_of_scalar_and_empty_leaves() -> None:
    scalar, empty = (space_spec(spaces.Box(0, 1, shape), "obs").leaves[0] for shape in [(), (0, 3)])
    assert (scalar.size, scalar.nbytes, empty.size, empty.nbytes) == (1, 4, 0, 0)


# The tree


def test_tree_is_in_pre_order_with_the_spaces_own_key_order() -> None:
    arm = spaces.Tuple([spaces.Discrete(2), spaces.Dict({"x": spaces.MultiBinary(1)})])
    spec = space_spec(spaces.Dict(OrderedDict(b=spaces.Box(0, 1), arm=arm, a=spaces.Discrete(3))), "action")
    assert [leaf.name for leaf in spec.leaves] == ["action.b", "action.arm.0", "action.arm.1.x", "action.a"]
    assert not spec.single
    assert [(n.index, n.kind, n.parent, n.key, n.leaf, n.children) for n in spec.nodes] == [
        (0, "dict", -1, None, -1, (1, 2, 6)),
        (1, "leaf", 0, "b", 0, ()),
        (2, "tuple", 0, "arm", -1, (3, 4)),
        (3, "leaf", 2, 0, 1, ()),
        (4, "dict", 2, 1, -1, (5,)),
        (5, "leaf", 4, "x", 2, ()),
        (6, "leaf", 0, "a", 3, ()),
    ]


def test_strange_keys_are_data() -> None:
    keys = ['"', "'", "\\", "\n", " ", "", "ключ", "a-b", "0", "\ud800", "__class__"]
    spec = space_spec(spaces.Dict([(key, spaces.Discrete(2)) for key in keys]), "obs")
    assert [leaf.name for leaf in spec.leaves] == [f"obs.{key}" for key in keys]
    env = EnvSpec("E", spec, spec)
    assert EnvSpec.from_description(through_json(env.describe())) == env


def test_key_that_is_an_enum_member_is_its_text() -> None:
    class Part(str, enum.Enum):
        ARM = "arm"

    spec = space_spec(spaces.Dict([(Part.ARM, spaces.Discrete(2))]), "obs")
    assert spec.leaves[0].name == "obs.arm"
    assert type(spec.nodes[1].key) is str


def test_subclass_of_a_space_is_that_space() -> None:
    class Camera(spaces.Box):
        pass

    assert space_spec(Camera(0, 1, (2,)), "obs").leaves[0].shape == (2,)


# Errors: what a user reads


class Custom(spaces.Space[Any]):
    pass


class Mission(spaces.Space[Any]):
    """As MiniGrid has it, with `dtype=str`."""


class Env:
    __module__ = "gymnasium.core"


def with_dtype(dtype: Any) -> Any:
    space = spaces.Box(0, 1, (2,))
    space.dtype = dtype  # gymnasium refuses most at construction, old gym does not
    return space


def with_bounds(low: float, high: float) -> Any:
    space = spaces.Box(0, 1, (2,))
    space.low, space.high = np.full(2, low, np.float32), np.full(2, high, np.float32)
    return space


NOT_SUPPORTED = "is not supported yet; use instead"
A_SPACE = "expected a gymnasium or gym space, such as `self.observation_space = gymnasium.spaces.Box(...)`"
ONE = spaces.Discrete(2)
ERRORS = [
    (spaces.Tuple([spaces.Text(0, min_length=0)]), ["obs.0:", "Text", "max_length of at least 1"]),
    (spaces.Graph(spaces.Box(0, 1), None), ["obs:", "Graph", NOT_SUPPORTED, "edge_links"]),
    (spaces.Tuple([spaces.Sequence(ONE)]), ["obs.0:", "Sequence", NOT_SUPPORTED, "length"]),
    (spaces.OneOf([ONE, ONE]), ["obs:", "OneOf", NOT_SUPPORTED, "Discrete that says which"]),
    (Custom(), ["obs:", "Custom", NOT_SUPPORTED, "Box, Discrete, MultiDiscrete, MultiBinary, Text, Dict"]),
    (Mission(dtype=str), ["obs:", "Mission", NOT_SUPPORTED, "Text, with the max_length", "TransformObs"]),
    (Mission(), ["obs:", "Mission", NOT_SUPPORTED, "one of Box"]),
    (None, ["obs: got None;", A_SPACE, "__init__"]),
    ((4, 2), ["obs: got the tuple (4, 2);", A_SPACE]),
    (spaces.Box, ["obs: got the class Box, not an instance of it;", A_SPACE]),
    (Env(), ["obs: got the Env", A_SPACE]),
    (spaces.Dict(), ["obs:", "Dict space is empty"]),
    (spaces.Dict(a=spaces.Tuple([])), ["obs.a:", "Tuple space is empty"]),
    (spaces.Dict({1: ONE}), ["obs:", "must be str", "1 of type int"]),
    (
        spaces.Dict({"a.b": ONE, "a": spaces.Dict(b=ONE)}),
        ["obs['a']['b'] and obs['a.b']", "leaf 'obs.a.b'", "rename"],
    ),
    (spaces.Dict({"a.0": ONE, "a": spaces.Tuple([ONE])}), ["obs['a'][0] and obs['a.0']", "'obs.a.0'"]),
    (spaces.Dict(x=with_dtype(np.dtype(complex))), ["obs.x:", "complex128", *DTYPES]),
    (with_dtype(np.dtype(object)), ["obs:", "object", *DTYPES]),
    (with_dtype(np.dtype("U3")), ["obs:", "str96", *DTYPES]),
    (spaces.Box(0, 1, (2,), np.longdouble), ["obs:", np.dtype(np.longdouble).name, *DTYPES]),
    (with_bounds(np.nan, 1), ["obs:", "no NaN", "-inf and inf"]),
    (with_bounds(0, np.nan), ["obs:", "no NaN"]),
    (with_bounds(2, 1), ["obs:", "low <= high"]),
    (spaces.Discrete(10, start=2**63 - 5), ["obs:", "9223372036854775812", "do not fit int64"]),
    (spaces.Dict(x=spaces.MultiDiscrete([100], np.int8, start=[100])), ["obs.x:", "100..199", "fit int8"]),
    (spaces.MultiDiscrete([2], np.uint64, start=[2**63 - 1]), ["obs:", "9223372036854775808", "fit int64"]),
]


@pytest.mark.parametrize(
    ("space", "parts"), ERRORS, ids=lambda value: str(value).partition(" object at ")[0][:40]
)
def test_error_names_the_place_and_what_to_do(space: Any, parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        space_spec(space, "obs")
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message


def test_error_in_an_action_names_the_actions_attribute() -> None:
    with pytest.raises(SpecError, match=r"action: got None.*`self\.action_space = "):
        space_spec(None, "action")


def test_keys_with_dots_that_do_not_clash_are_fine() -> None:
    space = spaces.Dict({"a.c": ONE, "a": spaces.Dict(b=ONE)})
    assert [leaf.name for leaf in space_spec(space, "obs").leaves] == ["obs.a.b", "obs.a.c"]


# Descriptions

INTS = [name for name in DTYPES if "int" in name]


def finite_or_inf(values: Any) -> Any:
    return np.where(values == values, values, np.zeros_like(values))  # gymnasium refuses NaN bounds


def boxes() -> st.SearchStrategy[Any]:
    @st.composite
    def box(draw: st.DrawFn) -> Any:
        dtype = np.dtype(draw(st.sampled_from(list(DTYPES))))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
        raw = draw(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=4))
        pairs = [np.sort(finite_or_inf(np.frombuffer(b, dtype)[:2])) for b in raw]
        if dtype.kind == "b":
            pairs = [np.array([b[0] % 2 and b[1] % 2, b[1] % 2], bool) for b in raw]
        low, high = (np.resize(np.stack(pairs)[:, i], shape) for i in (0, 1))
        return spaces.Box(low.copy(), high.copy(), shape, dtype)

    return box()


@st.composite
def discretes(draw: st.DrawFn) -> Any:
    dtype = draw(st.sampled_from(INTS))
    low = draw(st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max - 1))
    return spaces.Discrete(draw(st.integers(1, np.iinfo(dtype).max - max(low, 0))), start=low, dtype=dtype)


@st.composite
def multi_discretes(draw: st.DrawFn) -> Any:
    shape, dtype = draw(st.sampled_from([(), (1,), (3,), (2, 2)])), draw(st.sampled_from(INTS))
    size, least = int(np.prod(shape)), -60 if np.dtype(dtype).kind == "i" else 0
    nvec = draw(st.lists(st.integers(1, 60), min_size=size, max_size=size))
    start = draw(st.lists(st.integers(least, 60), min_size=size, max_size=size))
    return spaces.MultiDiscrete(np.reshape(nvec, shape), dtype, start=np.reshape(start, shape))


KEYS = st.text(max_size=4).filter(lambda key: "." not in key)
FLAT = st.one_of(
    boxes(),
    discretes().filter(lambda s: int(s.start) + int(s.n) <= 2**63),
    multi_discretes(),
    st.builds(spaces.MultiBinary, st.integers(1, 4) | st.lists(st.integers(1, 3), min_size=1, max_size=3)),
    st.builds(
        lambda least, more, charset: spaces.Text(least + more, min_length=least, charset=charset),
        *(st.integers(0, 9), st.integers(1, 9), st.text(max_size=5)),
    ),
)
SPACES = st.recursive(
    FLAT,
    lambda inside: st.one_of(
        st.lists(st.tuples(KEYS, inside), min_size=1, max_size=3, unique_by=lambda item: item[0]).map(
            lambda items: spaces.Dict(OrderedDict(items))
        ),
        st.lists(inside, min_size=1, max_size=3).map(spaces.Tuple),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(SPACES)
def test_any_space_survives_json(space: Any) -> None:
    again = rebuilt(space)
    assert again == space
    assert_same_space(again, space)
    assert space_description(again) == space_description(space)
    assert space_spec(again, "obs") == space_spec(space, "obs")


@settings(max_examples=100, deadline=None)
@given(SPACES, SPACES, st.sampled_from(list(DTYPES)), st.tuples(*[st.booleans()] * 3))
def test_any_env_spec_survives_json(obs: Any, action: Any, reward: str, flags: Any) -> None:
    spec = EnvSpec("E", space_spec(obs, "obs"), space_spec(action, "action"), DTYPES[reward], *flags)
    description = spec.describe()
    assert through_json(description) == description
    assert EnvSpec.from_description(through_json(description)) == spec
    assert hash(EnvSpec.from_description(description)) == hash(spec)


def test_description_tells_env_specs_apart() -> None:
    sides = [space_spec(spaces.Discrete(n), "obs") for n in (2, 3)]
    specs = [
        EnvSpec("E", sides[0], sides[0]),
        EnvSpec("F", sides[0], sides[0]),
        EnvSpec("E", sides[1], sides[0]),
        EnvSpec("E", sides[0], sides[1]),
        EnvSpec("E", sides[0], sides[0], DTYPES["float64"]),
        EnvSpec("E", sides[0], sides[0], has_truncated=True),
        EnvSpec("E", sides[0], sides[0], has_info=True),
        EnvSpec("E", sides[0], sides[0], reset_takes_options=True),
    ]
    assert len({json.dumps(spec.describe()) for spec in specs}) == len(specs)


@pytest.mark.parametrize("name", [name for name in INTS if name[0] == "i"])
def test_infinity_of_an_int_box_is_kept(name: str) -> None:
    space = rebuilt(spaces.Box(-np.inf, np.inf, (2,), np.dtype(name)))
    assert not space.bounded_below.any()
    assert not space.bounded_above.any()
    assert_same_space(space, spaces.Box(-np.inf, np.inf, (2,), np.dtype(name)))


def test_uint64_bound_is_not_rounded_through_float() -> None:
    assert rebuilt(spaces.Box(0, np.full(2, 2**64 - 1, np.uint64), (2,), np.uint64)).high[1] == 2**64 - 1


def test_wrong_endian_box_keeps_its_values() -> None:
    space = rebuilt(spaces.Box(np.array([1.5, 2.5], ">f8"), np.array([3.5, 4.5], ">f8"), dtype=">f8"))
    assert space == spaces.Box(np.array([1.5, 2.5]), np.array([3.5, 4.5]), dtype=np.float64)
    assert space.low.dtype.isnative


def test_rebuilt_space_samples_and_contains() -> None:
    for space, _ in LEAVES:
        again = rebuilt(space)
        assert again.contains(again.sample()), space


def test_uniform_camera_bounds_are_described_in_a_few_bytes() -> None:
    assert len(json.dumps(space_description(spaces.Box(0, 255, (84, 84, 4), np.uint8)))) < 200


def test_key_order_survives_batching() -> None:
    space = rebuilt(spaces.Dict(OrderedDict(b=ONE, a=ONE)))
    assert list(batch_space(space, 2).spaces) == ["b", "a"]


def test_describing_names_the_place() -> None:
    with pytest.raises(SpecError, match=r"obs\.items: the space Sequence"):
        space_description(spaces.Dict(items=spaces.Sequence(ONE)), "obs")


def test_text_is_described_in_the_same_words_in_every_process() -> None:
    """Sets of characters have another order under another hash seed, and descriptions are cache keys."""
    one, two = (space_description(spaces.Text(5, charset=letters)) for letters in ("cba", frozenset("abc")))
    assert one == two
    assert one["charset"] == "abc"


# Old gym


def old_and_new(old: Any) -> list[tuple[Any, Any]]:
    return [
        (old.Box(-1, 1, (2, 3)), spaces.Box(-1, 1, (2, 3))),
        (old.Box(-np.inf, np.inf, (), np.float64), spaces.Box(-np.inf, np.inf, (), np.float64)),
        (old.Box(0, 255, (2, 2, 3), np.uint8), spaces.Box(0, 255, (2, 2, 3), np.uint8)),
        (old.Box(0, 1, (2,), bool), spaces.Box(0, 1, (2,), np.bool_)),
        (old.Discrete(3, start=-1), spaces.Discrete(3, start=-1)),
        (old.MultiDiscrete([2, 3]), spaces.MultiDiscrete([2, 3])),
        (old.MultiBinary(3), spaces.MultiBinary(3)),
        (old.MultiBinary([3, 2]), spaces.MultiBinary([3, 2])),
        (old.Dict(b=old.Discrete(2), a=old.Box(0, 1)), spaces.Dict([("b", ONE), ("a", spaces.Box(0, 1))])),
        (old.Tuple([old.Discrete(2), old.Box(0, 1)]), spaces.Tuple([ONE, spaces.Box(0, 1)])),
        (old.Text(3, min_length=2, charset="ba"), spaces.Text(3, min_length=2, charset="ba")),
    ]


def test_old_gym_space_gives_the_same_spec_and_description(gym_spaces: Any) -> None:
    for old, new in old_and_new(gym_spaces):
        assert space_spec(old, "obs") == space_spec(new, "obs")
        assert space_description(old) == space_description(new)


def test_old_gym_space_is_rebuilt_in_both_libraries(gym_spaces: Any) -> None:
    for old, new in old_and_new(gym_spaces):
        assert rebuilt(old) == new
        for source in (old, new):
            again = rebuilt(source, "gym")
            assert type(again) is type(old)
            assert again == old
            assert space_description(again) == space_description(old)


@pytest.mark.parametrize("name", DTYPES)
def test_old_gym_box_of_every_dtype_is_rebuilt(gym_spaces: Any, name: str) -> None:
    again = rebuilt(spaces.Box(np.array([0, 1], name), np.array([1, 1], name), (2,), np.dtype(name)), "gym")
    assert (again.dtype, again.low.dtype) == (np.dtype(name), np.dtype(name))
    assert (again.low.tolist(), again.high.tolist()) == ([0, 1], [1, 1])


def test_old_gym_has_no_multi_discrete_start_so_a_box_holds_the_values(gym_spaces: Any) -> None:
    again = rebuilt(spaces.MultiDiscrete([100, 3], np.int8, start=[28, -1]), "gym")
    assert type(again) is gym_spaces.Box
    assert (again.dtype, again.low.tolist(), again.high.tolist()) == (np.dtype("int8"), [28, -1], [127, 1])


def test_old_gym_leaf_inside_a_gymnasium_dict_is_read(gym_spaces: Any) -> None:
    space = spaces.Dict(a=ONE, b=ONE)
    space.spaces["b"] = gym_spaces.Dict(c=gym_spaces.Box(0, 1, (2,)))
    assert [leaf.name for leaf in space_spec(space, "obs").leaves] == ["obs.a", "obs.b.c"]
    assert rebuilt(space) == spaces.Dict(a=ONE, b=spaces.Dict(c=spaces.Box(0, 1, (2,))))


def test_old_gym_bounds_that_gymnasium_refuses_are_our_error(gym_spaces: Any) -> None:
    for low, high in [(np.nan, np.nan), (1, 0)]:
        with pytest.raises(SpecError, match="low <= high"):
            space_spec(gym_spaces.Box(low, high, (2,)), "obs")


@pytest.mark.parametrize("start", [-(2**63) - 1, 2**63 - 2])
def test_old_gym_discrete_beyond_int64_is_refused(gym_spaces: Any, start: int) -> None:
    with pytest.raises(SpecError, match="do not fit int64; use a smaller start or n"):
        space_spec(gym_spaces.Discrete(3, start=start), "obs")


def test_a_gym_that_has_no_text_is_told_from_a_missing_attribute(
    gym_spaces: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = space_description(gym_spaces.Text(3))
    monkeypatch.delattr(gym_spaces, "Text")
    with pytest.raises(SpecError, match="has no Text space"):
        space_from_description(description, "gym")


# Imports


def test_importing_spec_imports_neither_library() -> None:
    code = "import sys, envpool_protocol.spaces; sys.exit(str({'gym', 'gymnasium'} & {*sys.modules}))"
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}
    done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


@pytest.mark.parametrize(
    ("kinds", "pair"), [("ad", True), ("aad", False), ("d", False), ("da", False), ("dd", True)]
)
def test_only_a_tuple_of_two_with_a_dict_last_looks_like_obs_and_info(kinds: str, pair: bool) -> None:
    of = {"a": spaces.Box(0, 1), "d": spaces.Dict(x=spaces.Discrete(2))}
    obs, action = space_spec(spaces.Tuple([of[kind] for kind in kinds]), "obs"), space_spec(of["a"], "action")
    assert EnvSpec("Any", obs, action).obs_is_pair is pair
