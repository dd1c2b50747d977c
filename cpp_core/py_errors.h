// Raising this project's Python errors from C++.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <system_error>

#include "cpp_core/fault.h"

namespace envpool {

namespace py = pybind11;

inline py::object error_class(const char* name) {
  return py::module_::import("envpool_protocol.errors").attr(name);
}

[[noreturn]] inline void raise(const char* name, const std::string& message) {
  PyErr_SetString(error_class(name).ptr(), message.c_str());
  throw py::error_already_set();
}

inline const char* error_name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kActionError:
      return "ActionError";
    case FaultKind::kPendingCallError:
      return "PendingCallError";
    case FaultKind::kNothingPendingError:
      return "NothingPendingError";
    case FaultKind::kForkedPoolError:
      return "ForkedPoolError";
    case FaultKind::kPoolClosedError:
      return "PoolClosedError";
  }
  return "PoolError";
}

inline void register_faults() {
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const Fault& fault) {
      PyErr_SetString(error_class(error_name(fault.kind)).ptr(), fault.what());
    } catch (const std::system_error& error) {
      const auto number_and_text = py::make_tuple(error.code().value(), error.what());
      PyErr_SetObject(PyExc_OSError, number_and_text.ptr());
    }
  });
}

}  // namespace envpool
