// For generated modules: calling an env's hooks and reading what they return. Python.h only, so it compiles
// fast.
#pragma once

#include <cstring>
#include <initializer_list>
#include <utility>

#include "cpp_core/module_abi.h"

namespace envpool {

// An owned reference that is let go at the end of its scope.
class Ref {
 public:
  explicit Ref(PyObject* object) : object_(object) {}
  ~Ref() { Py_XDECREF(object_); }
  Ref(const Ref&) = delete;

  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject* object_;
};

// Names of the hooks as interned strings, made once when the module is imported.
struct HookNames {
  PyObject* names[kNumHooks] = {};

  bool intern() {
    for (int hook = kInitHook; hook < kNumHooks; ++hook) {
      names[hook] = PyUnicode_InternFromString(kHookNames[hook]);
      if (names[hook] == nullptr) return false;
    }
    return true;
  }
  PyObject* operator[](EnvpoolHook hook) const { return names[hook]; }
};

// For hooks that return nothing: true, or false with the error set.
inline bool ok(PyObject* result) {
  Py_XDECREF(result);
  return result != nullptr;
}

inline bool as_flag(PyObject* result, int32_t* flag) {
  if (result == nullptr) return false;
  *flag = result == Py_True ? 1 : result == Py_False ? 0 : PyObject_IsTrue(result);
  Py_DECREF(result);
  return *flag >= 0;
}

inline bool as_reward(const EnvpoolHost* host, PyObject* result, int32_t dtype, void* to) {
  if (result == nullptr) return false;
  bool stored = true;
  if (PyFloat_CheckExact(result) && dtype == kFloat32) {
    *static_cast<float*>(to) = static_cast<float>(PyFloat_AS_DOUBLE(result));
  } else if (PyFloat_CheckExact(result) && dtype == kFloat64) {
    *static_cast<double*>(to) = PyFloat_AS_DOUBLE(result);
  } else {
    stored = host->store_reward(result, dtype, to) == 0;
  }
  Py_DECREF(result);
  return stored;
}

// Undeclared info: a dict, kept only when it holds something.
inline bool as_info(const EnvpoolHost* host, PyObject* result, PyObject** info) {
  if (result == nullptr) return false;
  if (!PyDict_Check(result)) {
    PyErr_Format(host->spec_error, "_info_envpool must return a dict, found %R of type %s", result,
                 Py_TYPE(result)->tp_name);
    Py_DECREF(result);
    return false;
  }
  if (PyDict_GET_SIZE(result) == 0) {
    Py_DECREF(result);
    return true;
  }
  *info = result;
  return true;
}

// What a container holds, for messages: the keys of a dict, or the value itself. A new reference.
inline PyObject* contents(PyObject* value) {
  if (PyDict_Check(value)) return PyDict_Keys(value);
  Py_INCREF(value);
  return value;
}

// The member of a dict or tuple observation: a new reference, or null with an error that names the place.
inline PyObject* member(const EnvpoolHost* host, PyObject* parent, PyObject* key, const char* place) {
  PyObject* found = PyObject_GetItem(parent, key);
  if (found == nullptr && !PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
    PyErr_Clear();
    const Ref found_there(contents(parent));
    PyErr_Format(host->spec_error, "%s: expected a container with the member %R, found %.200R", place, key,
                 found_there.get());
  }
  return found;
}

// A container must have just its members; what the space does not name would be dropped silently.
inline bool has_length(const EnvpoolHost* host, PyObject* parent, Py_ssize_t length, const char* place) {
  const Py_ssize_t found = PyObject_Length(parent);
  if (found == length) return true;
  if (found >= 0 || PyErr_ExceptionMatches(PyExc_TypeError)) {
    PyErr_Clear();
    const Ref found_there(contents(parent));
    PyErr_Format(host->spec_error, "%s: expected a container with %zd members, found %.200R", place, length,
                 found_there.get());
  }
  return false;
}

// Copies a value into its leaf of the row: kBytes straight from an array that fits, else by conversion.
template <size_t kBytes>
bool store_obs(const EnvpoolHost* host, EnvpoolCall* call, PyObject* value, const EnvpoolLeaf& leaf,
               int32_t which) {
  void* to = call->leaf(call, host->first_obs + which);
  const void* from = host->array_data(value, &leaf);
  if (from == nullptr) return host->store(value, &leaf, to) == 0;
  std::memcpy(to, from, kBytes);
  return true;
}

// What an env is handed for one action leaf: an array of its own, or an int. New references.
inline PyObject* array_action(const EnvpoolHost* host, EnvpoolCall* call, const EnvpoolLeaf& leaf,
                              int32_t which) {
  return host->make_array(&call->kept_actions[which], &leaf, call->action + call->action_offsets[which]);
}
inline PyObject* int_action(const EnvpoolHost*, EnvpoolCall* call, const EnvpoolLeaf&, int32_t which) {
  int64_t value = 0;
  std::memcpy(&value, call->action + call->action_offsets[which], sizeof(value));
  return PyLong_FromLongLong(value);
}

// Containers of an action. The members are borrowed; a null member means that it could not be made.
inline PyObject* make_dict(std::initializer_list<std::pair<PyObject*, PyObject*>> members) {
  Ref dict(PyDict_New());
  for (const auto& [key, value] : members) {
    if (!dict || value == nullptr || PyDict_SetItem(dict.get(), key, value) < 0) return nullptr;
  }
  return dict.release();
}
inline PyObject* make_tuple(std::initializer_list<PyObject*> members) {
  Ref tuple(PyTuple_New(static_cast<Py_ssize_t>(members.size())));
  Py_ssize_t at = 0;
  for (PyObject* value : members) {
    if (!tuple || value == nullptr) return nullptr;
    Py_INCREF(value);
    PyTuple_SET_ITEM(tuple.get(), at++, value);
  }
  return tuple.release();
}

// `env.hook(*, **options)`; options may be null.
inline PyObject* call_with_options(PyObject* env, PyObject* hook, PyObject* options) {
  if (options == nullptr) return PyObject_CallMethodNoArgs(env, hook);
  const Ref method(PyObject_GetAttr(env, hook));
  const Ref nothing(PyTuple_New(0));
  if (!method || !nothing) return nullptr;
  return PyObject_Call(method.get(), nothing.get(), options);
}

inline PyObject* call_with_int(PyObject* env, PyObject* hook, int64_t value) {
  const Ref number(PyLong_FromLongLong(value));
  return number ? PyObject_CallMethodOneArg(env, hook, number.get()) : nullptr;
}

}  // namespace envpool
