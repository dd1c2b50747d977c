// Reads batches of actions as a pool does, with the same checks, for a pool whose envs are elsewhere.
#pragma once

#include <pybind11/stl.h>

#include <cstdint>
#include <vector>

#include "cpp_core/py_actions.h"
#include "cpp_core/py_engine.h"

namespace envpool {

class ActionReader {
 public:
  explicit ActionReader(const py::capsule& capsule) : ActionReader(open_module(capsule)) {}

  // One C-contiguous array of the leaf's dtype for each of `actions`, a row per env.
  py::tuple read(const py::tuple& actions, const std::vector<int32_t>& envs) const {
    const auto batches = read_actions(actions, layout_, envs);
    py::tuple arrays(batches.size());
    for (size_t leaf = 0; leaf < batches.size(); ++leaf) arrays[leaf] = batches[leaf];
    return arrays;
  }

 private:
  explicit ActionReader(const EnvpoolModule* module)
      : layout_(1, 1, 1, {}, {module->actions, module->actions + module->num_actions}) {}

  const Layout layout_;
};

inline void bind_action_reader(py::module_& module) {
  py::class_<ActionReader>(module, "ActionReader")
      .def(py::init<const py::capsule&>(), py::arg("module"))
      .def("read", &ActionReader::read, py::arg("actions"), py::arg("envs"));
}

}  // namespace envpool
