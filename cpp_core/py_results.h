// For modules: reading what an env's methods return, apart from its observations.
#pragma once

#include "cpp_core/py_info.h"
#include "cpp_core/py_methods.h"

namespace envpool {

// True, or false with the error set: for methods whose result nobody needs.
inline bool ok(PyObject* result) {
  Py_XDECREF(result);
  return result != nullptr;
}

// The functions below borrow `result`. It may be null, with the error set, which they pass on.

// -1 with the error set; for a hook, None and a function are errors: of an author who forgot to return
// something, or to call it.
inline int32_t truth(PyObject* result, const char* hook) {
  if (hook == nullptr || (result != Py_None && PyCallable_Check(result) == 0)) return PyObject_IsTrue(result);
  PyErr_Format(host->spec_error, "%s must return a bool, found %.200R", hook, result);
  return -1;
}

inline bool as_flag(PyObject* result, int32_t* flag, const char* hook = nullptr) {
  if (result == nullptr) return false;
  *flag = result == Py_True ? 1 : result == Py_False ? 0 : truth(result, hook);
  return *flag >= 0;
}

// Into the reward leaf of the row.
inline bool as_reward(EnvpoolCall* call, PyObject* result) {
  if (result == nullptr) return false;
  void* to = call->leaf(call, host->reward_leaf);
  const int32_t dtype = call->module->reward_dtype;
  if (PyFloat_CheckExact(result) && dtype == kFloat32) {
    *static_cast<float*>(to) = static_cast<float>(PyFloat_AS_DOUBLE(result));
  } else if (PyFloat_Check(result) && dtype == kFloat64) {  // NumPy's float64 is a float, too
    *static_cast<double*>(to) = PyFloat_AS_DOUBLE(result);
  } else {
    return host->store_reward(result, dtype, to) == 0;
  }
  return true;
}

// Info: a dict. What is not declared is kept, if there is any. `what` names the dict in messages.
inline bool as_info(EnvpoolCall* call, PyObject* result, const char* what) {
  if (result == nullptr) return false;
  if (!PyDict_Check(result)) {
    PyErr_Format(host->spec_error, "%s must be a dict, found %.200R of type %s", what, result,
                 Py_TYPE(result)->tp_name);
    return false;
  }
  if (PyDict_GET_SIZE(result) == 0) return true;
  if (call->module->num_info > 0) return read_info_node(call, 0, result, &call->info);
  Py_INCREF(result);
  call->info = result;
  return true;
}

}  // namespace envpool
