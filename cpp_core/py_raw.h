// For generated modules: plugging into the engine, and the raw classes with EnvPool's interface, which are
// what EnvPool's own Python layer is built on: _MyEnvSpec (config, state and action keys and specs) and
// _MyEnvPool (_send, _recv, _reset, _render). They hold Python objects made by envpool_wrap.raw and forward
// to the engine's pool.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "cpp_core/module_abi.h"

namespace envpool {

namespace py = pybind11;

inline void plug_in(py::module_& module, const EnvpoolModule& generated, bool (*accept)(const EnvpoolHost*)) {
  const py::capsule capsule = py::module_::import("envpool_protocol._core").attr("host");
  const auto* host =
      static_cast<const EnvpoolHost*>(PyCapsule_GetPointer(capsule.ptr(), ENVPOOL_HOST_CAPSULE));
  if (host == nullptr) throw py::error_already_set();
  if (host->abi != ENVPOOL_MODULE_ABI) {
    throw py::import_error("this module was generated for version " + std::to_string(ENVPOOL_MODULE_ABI) +
                           " of the engine's interface, and the engine has version " +
                           std::to_string(host->abi) + "; generate it again");
  }
  if (!accept(host)) throw py::error_already_set();
  module.attr("engine_module") = py::capsule(&generated, ENVPOOL_MODULE_CAPSULE);
}

struct RawSpec {
  py::object values;  // of the config keys, in their order
  py::object tables;  // envpool_wrap.raw.Tables
};

struct RawPool {
  RawSpec spec;
  py::object pool;  // envpool_wrap.raw.RawPool
};

inline void bind_raw(py::module_& module, const char* spec_name, const char* pool_name) {
  const py::object raw = py::module_::import("envpool_wrap.raw");
  const py::object tables = raw.attr("Tables")(module.attr("description"));
  const py::object abc_meta = py::module_::import("abc").attr("ABCMeta");

  py::class_<RawSpec> spec(module, spec_name, py::metaclass(abc_meta), py::module_local());
  spec.def(py::init(
               [tables](const py::tuple& values) { return RawSpec{tables.attr("check")(values), tables}; }))
      .def_property_readonly("_config_values", [](const RawSpec& self) { return self.values; })
      .def_property_readonly("_state_spec",
                             [](const RawSpec& self) { return self.tables.attr("state_spec"); })
      .def_property_readonly("_action_spec",
                             [](const RawSpec& self) { return self.tables.attr("action_spec"); });
  spec.attr("_config_keys") = tables.attr("config_keys");
  spec.attr("_default_config_values") = tables.attr("default_config_values");

  py::class_<RawPool> pool(module, pool_name, py::metaclass(abc_meta), py::module_local());
  pool.def(py::init([raw, module](const RawSpec& spec) {
        return RawPool{spec, raw.attr("RawPool")(module, spec.tables, spec.values)};
      }))
      .def_property_readonly("_spec", [](const RawPool& self) { return self.spec; })
      .def("_send", [](const RawPool& self, const py::object& action) { self.pool.attr("send")(action); })
      .def("_recv", [](const RawPool& self) -> py::object { return self.pool.attr("recv")(); })
      .def("_reset", [](const RawPool& self, const py::object& env_id) { self.pool.attr("reset")(env_id); })
      .def("_render",
           [](const RawPool& self, const py::args& args) -> py::object {
             return self.pool.attr("render")(*args);
           })
      .def("_close", [](const RawPool& self) { self.pool.attr("close")(); });
  for (const char* keys : {"_state_keys", "_action_keys"}) {
    spec.attr(keys) = tables.attr(keys + 1);
    pool.attr(keys) = tables.attr(keys + 1);
  }
}

}  // namespace envpool
