"""rlstructures' DictTensor. Needs torch and tensordict."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from envpool_protocol.errors import SpecError

pytestmark = pytest.mark.integration

torch = pytest.importorskip("torch")
tensordict = pytest.importorskip("tensordict")

from envpool_wrap.integrations.dict_tensor import DictTensor  # noqa: E402


@pytest.fixture
def three() -> Any:
    """Three rows of two tensors."""
    return DictTensor({"x": torch.arange(6.0).reshape(3, 2), "n": torch.arange(3)})


def lists(tensors: DictTensor) -> dict[str, Any]:
    return {key: tensors[key].tolist() for key in tensors.keys()}  # noqa: SIM118


def test_what_is_in_it(three: Any) -> None:
    assert list(three.keys()) == ["x", "n"] and "x" in three and "y" not in three
    assert three.n_elems() == 3 and not three.empty() and three.device() == torch.device("cpu")
    assert three.specs() == {
        "x": {"size": torch.Size([2]), "dtype": torch.float32},
        "n": {"size": torch.Size([]), "dtype": torch.int64},
    }
    with pytest.raises(KeyError, match="y"):
        three["y"]


def test_without_keys_there_are_no_rows_and_the_first_set_says_how_many() -> None:
    for made in (DictTensor(), DictTensor({}), DictTensor(None)):
        assert made.empty() and made.n_elems() == 0 and made.device() is None and made.specs() == {}
        made.set("x", torch.zeros(4, 2))
        assert made.n_elems() == 4
        made.unset("x")
        assert made.empty() and made.n_elems() == 0


def test_two_that_were_made_of_nothing_share_nothing() -> None:
    one, other = DictTensor(), DictTensor()
    one.set("x", torch.zeros(1))
    assert other.empty()


def test_a_dict_that_was_given_is_not_changed() -> None:
    given = {"x": torch.zeros(2)}
    DictTensor(given).set("y", torch.ones(2))
    assert list(given) == ["x"]


def test_lists_and_arrays_become_tensors() -> None:
    made = DictTensor({"length": [2, 1], "vec": np.ones((2, 3), np.float32)})
    assert made["length"].dtype == torch.int64 and made["vec"].shape == (2, 3)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"x": torch.zeros(3), "y": torch.zeros(2)}, "rows of tensors in one DictTensor differ: x: 3, y: 2"),
        ({"x": torch.tensor(1.0)}, r"\['x'\] have no rows; expected tensors of shape \(rows, ...\)"),
        ({"x": "text"}, "x='text': expected a tensor"),
        ({"x": [[1], [2, 3]]}, "x=.*: expected a tensor"),
        (
            {"x": torch.zeros(2), "y": torch.zeros(2, device="meta")},
            "device of tensors in one DictTensor differ: x: cpu, y: meta",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tensors: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        DictTensor(tensors)


def test_get_shares_unless_it_is_to_clone(three: Any) -> None:
    assert list(three.get(["n"]).keys()) == ["n"] and list(three.get("n").keys()) == ["n"]
    assert three.get(["n"])["n"] is three["n"]
    three.get(["n"], clone=True)["n"][0] = 7
    assert three["n"].tolist() == [0, 1, 2]
    with pytest.raises(KeyError, match="y"):
        three.get(["y"])


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        ([2, 0], [2, 0]),
        (torch.tensor([1, 1]), [1, 1]),
        (np.array([0, 2]), [0, 2]),
        (torch.tensor([True, False, True]), [0, 2]),
        (np.array([False, False, True]), [2]),
        (1, [1]),
        (-1, [2]),
        (np.int64(1), [1]),
        (torch.tensor(2), [2]),
        ([], []),
    ],
)
def test_index_copies_rows_and_keeps_their_axis(index: Any, rows: list[int], three: Any) -> None:
    some = three.index(index)
    assert some.n_elems() == len(rows) and some["n"].tolist() == rows and some["x"].shape == (len(rows), 2)
    some["n"].fill_(9)
    assert three["n"].tolist() == [0, 1, 2]


def test_index_out_of_range_is_an_error(three: Any) -> None:
    for index in (3, [3], torch.tensor([3])):
        with pytest.raises(IndexError):
            three.index(index)


def test_slice_has_rows_also_when_it_is_one(three: Any) -> None:
    assert three.slice(1, 3)["n"].tolist() == [1, 2]
    assert three.slice(1)["x"].shape == (1, 2) and three.slice(1).n_elems() == 1
    for row in torch.tensor([1]):
        assert three.slice(row).n_elems() == 1
    assert three.slice(2, 2).n_elems() == 0 and list(three.slice(2, 2).keys()) == ["x", "n"]


def test_unfold_and_cat_are_inverse(three: Any) -> None:
    rows = three.unfold()
    assert [row["n"].tolist() for row in rows] == [[0], [1], [2]]
    assert lists(DictTensor.cat(rows)) == lists(three)
    assert three.slice(1, 1).unfold() == []


def test_cat_wants_the_same_keys_and_leaves_out_what_has_none(three: Any) -> None:
    assert DictTensor.cat([]).empty()
    assert DictTensor.cat([DictTensor(), three, DictTensor()]).n_elems() == 3
    assert DictTensor.cat(part for part in [three, three.slice(0, 0)]).n_elems() == 3
    for parts in ([three, three.get(["n"])], [three.get(["n"]), three]):
        with pytest.raises(SpecError, match=r"different keys: the first has .*, number 1 has"):
            DictTensor.cat(parts)


def test_clone_is_a_copy_and_to_the_same_device_is_none(three: Any) -> None:
    three.clone()["n"][0] = 7
    assert three["n"].tolist() == [0, 1, 2]
    assert three.to("cpu")["n"] is three["n"]
    assert three.to("meta").device() == torch.device("meta") and three.to("meta").n_elems() == 3
    assert DictTensor().to("meta").empty()


def test_set_replaces_adds_and_refuses(three: Any) -> None:
    three.set("n", torch.ones(3))
    three.set("m", torch.zeros(3, 1))
    assert list(three.keys()) == ["x", "n", "m"] and three["n"].tolist() == [1, 1, 1]
    with pytest.raises(SpecError, match="rows of tensors in one DictTensor differ"):
        three.set("k", torch.zeros(2))
    assert "k" not in three


def test_names_are_prepended_truncated_and_unset(three: Any) -> None:
    both = three.prepend_key("_obs/") + three
    assert list(both.keys()) == ["_obs/x", "_obs/n", "x", "n"]
    assert lists(both.truncate_key("_obs/")) == lists(three)
    assert both.truncate_key("nothing").empty()
    both.unset_key("_obs/")
    assert list(both.keys()) == ["x", "n"]
    both.unset("x")
    assert list(both.keys()) == ["n"]


def test_a_sum_has_no_name_twice(three: Any) -> None:
    with pytest.raises(SpecError, match=r"both DictTensors have \['n'\]"):
        three + three.get(["n"])
    with pytest.raises(SpecError, match="rows of tensors"):
        three + DictTensor({"m": torch.zeros(2)})
    assert lists(three + DictTensor()) == lists(DictTensor() + three) == lists(three)


def test_copy_overwrites_rows_in_place(three: Any) -> None:
    kept = three["x"]
    three.copy_(three.clone(), torch.tensor([0, 1]), torch.tensor([2, 0]))
    assert three["n"].tolist() == [1, 1, 0] and three["x"] is kept
    with pytest.raises(SpecError, match=r"\(1,\) rows to copy to \(2,\)"):
        three.copy_(three, [0], [1, 2])
    with pytest.raises(SpecError, match=r"source has the keys \['n'\]; expected \['n', 'x'\]"):
        three.copy_(three.get(["n"]), [0], [1])


def test_td_is_a_tensordict_of_the_same_tensors(three: Any) -> None:
    td = three.td
    assert isinstance(td, tensordict.TensorDict) and td.batch_size == torch.Size([3])
    assert td["x"] is three["x"]
    assert lists(DictTensor(td)) == lists(three)
    assert DictTensor().td.batch_size == torch.Size([0])


def test_nested_ones_have_names_with_slashes_and_back() -> None:
    nested = tensordict.TensorDict({"arm": {"joints": torch.zeros(2, 3)}, "t": torch.zeros(2)}, [2])
    for given in (nested, {"arm": {"joints": torch.zeros(2, 3)}, "t": torch.zeros(2)}):
        flat = DictTensor(given)
        assert list(flat.keys()) == ["arm/joints", "t"]
        assert flat.td.unflatten_keys("/")["arm", "joints"].shape == (2, 3)


def test_it_is_printed_and_pickled(three: Any) -> None:
    assert repr(three).startswith("DictTensor({'x': tensor(") and "'n': tensor([0, 1, 2])" in str(three)
    assert lists(pickle.loads(pickle.dumps(three))) == lists(three)
