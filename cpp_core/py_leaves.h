// For modules: between an env's Python values and its leaves. Python.h only, so it compiles fast.
#pragma once

#include <cstring>
#include <initializer_list>
#include <utility>

#include "cpp_core/module_abi.h"

namespace envpool {

// The engine. Set once, when the module is plugged in.
inline const EnvpoolHost* host = nullptr;

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

// What a container holds, for messages: the keys of a dict, or the value itself. A new reference.
inline PyObject* contents(PyObject* value) {
  if (PyDict_Check(value)) return PyDict_Keys(value);
  Py_INCREF(value);
  return value;
}

// The member of a dict or tuple observation: a new reference, or null with an error that names the place.
inline PyObject* member(PyObject* parent, PyObject* key, const char* place) {
  PyObject* found = PyObject_GetItem(parent, key);
  if (found == nullptr &&
      (PyErr_ExceptionMatches(PyExc_LookupError) || PyErr_ExceptionMatches(PyExc_TypeError))) {
    PyErr_Clear();
    const Ref found_there(contents(parent));
    PyErr_Format(host->spec_error, "%s: expected a container with the member %R, found %.200R", place, key,
                 found_there.get());
  }
  return found;
}

// A container must have just its members; what the space does not name would be dropped silently.
inline bool has_length(PyObject* parent, Py_ssize_t length, const char* place) {
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

// Copies a value into a leaf of the row: straight from an array that fits, else by conversion.
inline bool store_leaf(PyObject* value, const EnvpoolLeaf& leaf, void* to, size_t nbytes) {
  const void* from = host->array_data(value, &leaf);
  if (from == nullptr) return host->store(value, &leaf, to) == 0;
  if (from != to) std::memcpy(to, from, nbytes);
  return true;
}

inline bool store_obs(EnvpoolCall* call, PyObject* value, const EnvpoolLeaf& leaf, int32_t which,
                      size_t nbytes) {
  return store_leaf(value, leaf, call->leaf(call, host->first_obs + which), nbytes);
}

// The same where the size is known when this is compiled.
template <size_t kBytes>
bool store_obs(EnvpoolCall* call, PyObject* value, const EnvpoolLeaf& leaf, int32_t which) {
  return store_obs(call, value, leaf, which, kBytes);
}

// What an env is handed to write one obs leaf into: an array over the row. A new reference; call->outs has
// one more.
inline PyObject* out_array(EnvpoolCall* call, const EnvpoolLeaf& leaf, int32_t which) {
  PyObject* const view = host->make_view(&leaf, call->leaf(call, host->first_obs + which), call->arena);
  Py_XINCREF(view);
  call->outs[which] = view;
  return view;
}

// What an env is handed for one action leaf: an array of its own, or an int. New references.
inline PyObject* array_action(EnvpoolCall* call, const EnvpoolLeaf& leaf, int32_t which) {
  return host->make_array(&call->kept_actions[which], &leaf, call->action + call->action_offsets[which]);
}
inline PyObject* int_action(EnvpoolCall* call, const EnvpoolLeaf&, int32_t which) {
  int64_t value = 0;
  std::memcpy(&value, call->action + call->action_offsets[which], sizeof(value));
  return PyLong_FromLongLong(value);
}

inline PyObject* text_action(EnvpoolCall* call, const EnvpoolLeaf& leaf, int32_t which) {
  const unsigned char* from = call->action + call->action_offsets[which];
  return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, from,
                                   static_cast<Py_ssize_t>(text_length(leaf, from)));
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

}  // namespace envpool
