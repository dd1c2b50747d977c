// From what the user passes to the arena's slots: env ids and a batch of actions, checked on every send.
//
// read_*() looks at everything and changes nothing; write() copies rows to the slots and cannot fail. So a
// refused send leaves the pool as it was.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/arena.h"
#include "cpp_core/py_numpy.h"

namespace envpool {

// Env ids from an int, a sequence or an array of ints. Their range is the pool's affair.
inline std::vector<int32_t> read_env_ids(py::handle env_id) {
  py::object array;
  try {
    array = to_array(env_id.ptr());
  } catch (py::error_already_set& ragged) {
    if (!ragged.matches(PyExc_ValueError) && !ragged.matches(PyExc_TypeError)) throw;
  }
  PyArrayObject* ids = as_ndarray(array.ptr());
  const bool empty_list = array && PyArray_SIZE(ids) == 0 && !PyArray_Check(env_id.ptr());
  if (!array || PyArray_NDIM(ids) > 1 || !(PyArray_ISINTEGER(ids) || empty_list)) {
    raise("ActionError", "env_id: expected one env id or a list of them (ints), found " +
                             py::cast<std::string>(describe(env_id.ptr())));
  }
  const py::object wide = py::reinterpret_steal<py::object>(
      PyArray_FromArray(ids, PyArray_DescrFromType(NPY_INT64), NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST));
  if (!wide) throw py::error_already_set();
  const auto* values = static_cast<const int64_t*>(PyArray_DATA(as_ndarray(wide.ptr())));
  const npy_intp count = PyArray_SIZE(as_ndarray(wide.ptr()));
  if (count == 0) raise("ActionError", "env_id: expected at least one env id, found none");
  std::vector<int32_t> envs(static_cast<size_t>(count));
  for (npy_intp i = 0; i < count; ++i) {
    if (values[i] != static_cast<int32_t>(values[i])) {
      raise("ActionError", "env_id " + std::to_string(values[i]) + " is out of range");
    }
    envs[static_cast<size_t>(i)] = static_cast<int32_t>(values[i]);
  }
  return envs;
}

// Without a branch, so that the compiler can look at several at once.
template <typename T>
bool all_within(const T* values, size_t count, int64_t low, int64_t high) {
  bool within = true;
  for (size_t i = 0; i < count; ++i) {
    const auto value = static_cast<int64_t>(values[i]);
    within &= (value >= low) & (value <= high);
  }
  return within;
}

template <typename T>
void check_range(const EnvpoolLeaf& leaf, const void* data, size_t rows, const int32_t* envs) {
  const T* values = static_cast<const T*>(data);
  if (leaf.size == 1 && all_within(values, rows, leaf.lows[0], leaf.highs[0])) return;
  for (size_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < leaf.size; ++i) {
      const auto value =
          static_cast<int64_t>(values[row * static_cast<size_t>(leaf.size) + static_cast<size_t>(i)]);
      if (value >= leaf.lows[i] && value <= leaf.highs[i]) continue;
      const std::string place = leaf.kind == kDiscrete ? "" : " (element " + std::to_string(i) + ")";
      raise("ActionError", std::string(leaf.name) + ": " + std::to_string(value) + " for env " +
                               std::to_string(envs[row]) + place + " is out of range; expected " +
                               std::to_string(leaf.lows[i]) + " to " + std::to_string(leaf.highs[i]));
    }
  }
}

using RangeCheck = void (*)(const EnvpoolLeaf&, const void*, size_t, const int32_t*);
inline constexpr std::array<RangeCheck, kNumDTypes> kRangeChecks = {
    check_range<bool>,
    check_range<int8_t>,
    check_range<uint8_t>,
    check_range<int16_t>,
    check_range<uint16_t>,
    check_range<int32_t>,
    check_range<uint32_t>,
    check_range<int64_t>,
    check_range<uint64_t>,
    nullptr,
    nullptr,
    nullptr,
};

// Text is looked at str by str: an array of them would have dropped what is too long or ends with NUL.
inline py::object read_text(PyObject* value, const EnvpoolLeaf& leaf, const std::vector<int32_t>& envs) {
  const std::string expected =
      std::string(leaf.name) + ": expected " + std::to_string(envs.size()) + " str (one per env), found ";
  auto rows = py::reinterpret_borrow<py::object>(value);
  if (PyArray_Check(value)) rows = rows.attr("tolist")();
  if (!PyList_Check(rows.ptr()) && !PyTuple_Check(rows.ptr())) {
    raise("ActionError", expected + no_text(value));
  }
  if (PySequence_Fast_GET_SIZE(rows.ptr()) != static_cast<Py_ssize_t>(envs.size())) {
    raise("ActionError", expected + std::to_string(PySequence_Fast_GET_SIZE(rows.ptr())));
  }
  auto batch =
      py::reinterpret_steal<py::object>(new_array(leaf, static_cast<npy_intp>(envs.size()), nullptr));
  if (!batch) throw py::error_already_set();
  auto* to = static_cast<std::byte*>(PyArray_DATA(as_ndarray(batch.ptr())));
  for (size_t row = 0; row < envs.size(); ++row) {
    PyObject* text = PySequence_Fast_GET_ITEM(rows.ptr(), static_cast<Py_ssize_t>(row));
    const std::string fault = text_fault(text, leaf);
    if (!fault.empty()) {
      raise("ActionError", std::string(leaf.name) + ": for env " + std::to_string(envs[row]) + " " + fault);
    }
    write_text(text, leaf, to + row * static_cast<size_t>(leaf.nbytes));
  }
  return batch;
}

// One leaf of a batch of actions: a C-contiguous array of the leaf's dtype with one row per env.
inline py::object read_action(PyObject* value, const EnvpoolLeaf& leaf, const std::vector<int32_t>& envs) {
  if (leaf.kind == kText) return read_text(value, leaf, envs);
  const auto count = static_cast<npy_intp>(envs.size());
  py::object array = to_array(value, leaf, "ActionError", std::to_string(count));
  PyArrayObject* batch = as_ndarray(array.ptr());
  if (!has_dims(batch, leaf, 1) || PyArray_DIM(batch, 0) != count) {
    raise("ActionError", std::string(leaf.name) + ": expected " + wanted(leaf, std::to_string(count)) +
                             " (one row per env), found " + describe_both(value, array));
  }
  if (!PyArray_IS_C_CONTIGUOUS(batch) || !is_dtype(batch, leaf.dtype)) {
    array = cast_to_leaf(std::move(array), leaf, "ActionError");
  }
  if (leaf.lows != nullptr) {
    kRangeChecks[static_cast<size_t>(leaf.dtype)](leaf, PyArray_DATA(as_ndarray(array.ptr())), envs.size(),
                                                  envs.data());
  }
  return array;
}

// `actions`: one value per action leaf, in the order of the layout.
inline std::vector<py::object> read_actions(const py::tuple& actions, const Layout& layout,
                                            const std::vector<int32_t>& envs) {
  if (actions.size() != layout.action.size()) {
    raise("ActionError", "expected " + std::to_string(layout.action.size()) + " action arrays, found " +
                             std::to_string(actions.size()));
  }
  std::vector<py::object> batches;
  batches.reserve(actions.size());
  for (size_t leaf = 0; leaf < actions.size(); ++leaf) {
    batches.push_back(read_action(actions[leaf].ptr(), layout.action[leaf], envs));
  }
  return batches;
}

// `envs`: null for all of them, in their order.
inline void write_actions(const std::vector<py::object>& batches, const Arena& arena, const int32_t* envs,
                          size_t count) {
  const Layout& layout = arena.layout();
  for (size_t leaf = 0; leaf < batches.size(); ++leaf) {
    const auto nbytes = static_cast<size_t>(layout.action[leaf].nbytes);
    const auto* from = static_cast<const std::byte*>(PyArray_DATA(as_ndarray(batches[leaf].ptr())));
    if (envs == nullptr && nbytes == layout.action_bytes) {
      std::memcpy(arena.action(0), from, count * nbytes);
      continue;
    }
    for (size_t row = 0; row < count; ++row) {
      const uint32_t env = static_cast<uint32_t>(envs == nullptr ? static_cast<int32_t>(row) : envs[row]);
      std::memcpy(arena.action(env) + layout.action_offsets[leaf], from + row * nbytes, nbytes);
    }
  }
}

}  // namespace envpool
