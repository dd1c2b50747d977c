// What is done with a row between its env and its publication: are its observations within their space, is
// its info kept, is its env watched.
//
// One object per engine, the same rules in every process (they travel as keyword arguments); read only, so
// any worker may use it. With the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cpp_core/arena.h"
#include "cpp_core/bounds.h"
#include "cpp_core/py_numpy.h"

namespace envpool {

class RowRules {
 public:
  // `bounds`: per obs leaf an envpool_protocol.spaces.Bounds, or None where every value is allowed.
  RowRules(uint64_t check_steps, const py::sequence& bounds, bool keep_infos, bool watch_random)
      : keep_infos_(keep_infos), watch_random_(watch_random), check_steps_(check_steps) {
    for (size_t leaf = 0; leaf < bounds.size(); ++leaf) {
      const py::object given = bounds[leaf];
      if (!given.is_none()) checks_.push_back({kFirstObs + static_cast<uint32_t>(leaf), read(given), given});
    }
    if (checks_.empty()) check_steps_ = 0;
  }

  bool keep_infos() const { return keep_infos_; }
  bool watch_random() const { return watch_random_; }

  // For an env that has taken `steps` steps. False with the Python error set.
  bool admits(uint64_t steps, const Row& row) const {
    if (steps >= check_steps_) return true;
    for (const Check& check : checks_) {
      const EnvpoolLeaf& leaf = row.layout().state[check.leaf];
      if (!is_within(leaf, check.bounds, row.leaf(check.leaf)))
        return refuse(leaf, check, row.leaf(check.leaf));
    }
    return true;
  }

 private:
  struct Check {
    uint32_t leaf;
    Bounds bounds;
    py::object given;
  };

  static std::vector<std::byte> bytes(const py::object& given) {
    const std::string_view text = py::reinterpret_borrow<py::bytes>(given);
    const auto* first = reinterpret_cast<const std::byte*>(text.data());
    return {first, first + text.size()};
  }
  static Bounds read(const py::object& given) {
    Bounds bounds{bytes(given.attr("low")), bytes(given.attr("high")), {}, 0};
    for (const py::handle character : given.attr("characters")) {
      bounds.characters.push_back(PyUnicode_READ_CHAR(character.ptr(), 0));
    }
    std::sort(bounds.characters.begin(), bounds.characters.end());
    bounds.min_length = given.attr("min_length").cast<int64_t>();
    return bounds;
  }

  // What is wrong with the value is found once more in Python, where it is easier said.
  bool refuse(const EnvpoolLeaf& leaf, const Check& check, const std::byte* at) const {
    try {
      const auto value = py::reinterpret_steal<py::object>(new_array(leaf, -1, nullptr));
      if (!value) throw py::error_already_set();
      std::memcpy(PyArray_DATA(as_ndarray(value.ptr())), at, static_cast<size_t>(leaf.nbytes));
      const py::object say = py::module_::import("envpool_protocol.checks").attr("outside");
      raise("SpecError", py::cast<std::string>(say(leaf.name, value, check.given, check_steps_)));
    } catch (py::error_already_set& error) {
      error.restore();
    }
    return false;
  }

  bool keep_infos_;
  bool watch_random_;
  uint64_t check_steps_;  // of each env, from its first on
  std::vector<Check> checks_;
};

inline void bind_rules(py::module_& module) {
  py::class_<RowRules, std::shared_ptr<RowRules>>(module, "RowRules")
      .def(py::init<uint64_t, const py::sequence&, bool, bool>(), py::kw_only(), py::arg("check_steps"),
           py::arg("bounds"), py::arg("keep_infos"), py::arg("watch_random"));
}

}  // namespace envpool
