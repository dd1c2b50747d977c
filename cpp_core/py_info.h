// For modules: declared info goes from the env's dict to its leaves, the rest of the dict stays as it is.
//
// The leaves were cleared before the call, so that a key that is missing is zero and its mask false.
#pragma once

#include "cpp_core/py_leaves.h"

namespace envpool {

inline unsigned char* info_leaf(EnvpoolCall* call, int32_t which) {
  return call->leaf(call, host->first_obs + call->module->num_obs + which);
}

// Stores what is declared at and below a node. `rest`: what is not, a new reference or null. False with the
// Python error set.
inline bool read_info_node(EnvpoolCall* call, int32_t index, PyObject* value, PyObject** rest) {
  const EnvpoolInfoNode& node = call->module->info_nodes[index];
  if (index > 0) {
    const int32_t first_mask = call->module->num_info - (call->module->num_info_nodes - 1);
    *info_leaf(call, first_mask + index - 1) = 1;
  }
  if (node.leaf >= 0) {
    const EnvpoolLeaf& leaf = call->module->info[node.leaf];
    return store_leaf(value, leaf, info_leaf(call, node.leaf), static_cast<size_t>(leaf.nbytes));
  }
  if (!PyDict_Check(value)) {
    PyErr_Format(host->spec_error, "%s: expected a dict, found %.200R", node.place, value);
    return false;
  }
  Ref others(PyDict_Copy(value));
  if (!others) return false;
  for (int32_t child = index + 1; child < node.end; child = call->module->info_nodes[child].end) {
    PyObject* key = call->module->info_nodes[child].key;
    PyObject* found = PyDict_GetItemWithError(others.get(), key);  // the copy's, which nobody else changes
    if (found == nullptr && PyErr_Occurred()) return false;
    if (found == nullptr) continue;
    PyObject* undeclared = nullptr;
    const bool read = read_info_node(call, child, found, &undeclared);
    const Ref inner(undeclared);
    if (!read) return false;
    const int changed =
        inner ? PyDict_SetItem(others.get(), key, inner.get()) : PyDict_DelItem(others.get(), key);
    if (changed < 0) return false;
  }
  if (PyDict_GET_SIZE(others.get()) > 0) *rest = others.release();
  return true;
}

}  // namespace envpool
