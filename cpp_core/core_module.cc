// envpool_protocol._core: the engine, compiled once into the wheel. Generated modules plug into it.
#include <pybind11/pybind11.h>

#include "cpp_core/py_action_reader.h"
#include "cpp_core/py_info_columns.h"
#include "cpp_core/py_kernel_pool.h"
#include "cpp_core/py_pool.h"
#include "cpp_core/py_prebuilt.h"
#include "cpp_core/py_worker.h"

namespace py = pybind11;

namespace {

EnvpoolHost engine = {
    .abi = ENVPOOL_MODULE_ABI,
    .first_obs = envpool::kFirstObs,
    .reward_leaf = envpool::kReward,
    .spec_error = nullptr,
    .array_data = envpool::array_data,
    .store = envpool::store_value,
    .store_reward = envpool::store_reward,
    .make_array = envpool::make_array,
    .make_view = envpool::make_view,
};

}  // namespace

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  if (!envpool::import_numpy()) throw py::error_already_set();
  envpool::register_faults();
  engine.spec_error = envpool::error_class("SpecError").release().ptr();
  envpool::host = &engine;
  if (!envpool::names.intern()) throw py::error_already_set();
  module.attr("abi") = ENVPOOL_MODULE_ABI;
  module.attr("host") = py::capsule(&engine, ENVPOOL_HOST_CAPSULE);
  module.def("prebuilt", envpool::make_prebuilt, py::arg("spec"), py::arg("dtypes"));
  module.def(
      "info_columns", [](const py::list& rows) { return envpool::InfoColumns(rows).made(); },
      py::arg("rows"));
  envpool::bind_engine(module);
  envpool::bind_pool(module);
  envpool::bind_kernel_pool(module);
  envpool::bind_action_reader(module);
  envpool::bind_worker(module);
}
