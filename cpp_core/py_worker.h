// A worker process as Python sees it: `_core.Worker`, made by envpool_wrap/worker.py in a child.
//
// It maps the caller's arena and runs the same worker loop as a thread does, on one queue, until the caller
// says stop or is gone. Its files were inherited; they are closed by the process's end.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "cpp_core/parent_watch.h"
#include "cpp_core/py_engine.h"

namespace envpool {

class PyWorker {
 public:
  PyWorker(const py::capsule& module, py::object factory, const EngineShape& shape,
           std::shared_ptr<RowRules> rules, int arena_fd, int inbox_fd, int outbox_fd, uint32_t queue)
      : engine_(make_shared_engine(open_module(module), std::move(factory), shape, std::move(rules), arena_fd,
                                   inbox_fd, outbox_fd, queue)),
        queue_(queue),
        spin_ns_(shape.spin_ns) {}

  // What escaped from a session would wait for the GIL that it holds, so nothing may.
  void run() {
    const auto serve = [this]() noexcept { work(*engine_, queue_, spin_ns_, engine_->arena.life(queue_)); };
    serve();
  }

 private:
  const std::shared_ptr<Engine> engine_;
  const uint32_t queue_;
  const int64_t spin_ns_;
};

inline void bind_worker(py::module_& module) {
  module.def("end_with_parent", &end_with_parent, py::arg("parent"));
  py::class_<PyWorker>(module, "Worker")
      .def(py::init<const py::capsule&, py::object, const EngineShape&, std::shared_ptr<RowRules>, int, int,
                    int, uint32_t>(),
           py::kw_only(), py::arg("module"), py::arg("factory"), py::arg("shape"), py::arg("rules"),
           py::arg("arena_fd"), py::arg("inbox_fd"), py::arg("outbox_fd"), py::arg("queue"))
      .def("run", &PyWorker::run);
}

}  // namespace envpool
