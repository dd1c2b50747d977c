// For modules: calling the methods that make a step.
//
// They are looked up once, and called as plain functions of the env from then on. They are looked up again
// when the env was reset, when something was applied to it from outside (a call, an attribute set), and when
// its class changed, which its version tells: CPython takes the number away from a class that is modified,
// and gives each number to one class only. What an env assigns to itself inside a step is seen at its next
// reset.
#pragma once

#include "cpp_core/py_leaves.h"

namespace envpool {

// Names of methods and hooks as interned strings, made once when the module is plugged in.
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

inline HookNames names;

// 0: none, and whatever was found may have changed.
inline unsigned int class_version(PyObject* env) {
  return __atomic_load_n(&Py_TYPE(env)->tp_version_tag, __ATOMIC_RELAXED);  // another thread may change it
}

inline bool find_method(EnvpoolCall* call, EnvpoolHook hook) {
  EnvpoolMethods* const methods = call->methods;
  if (const unsigned int version = class_version(call->env); version == 0 || version != methods->version) {
    forget_methods(methods);
  }
  PyObject* method = PyObject_GetAttr(call->env, names[hook]);  // gives the class a version
  if (method == nullptr) return false;
  if (PyMethod_Check(method) && PyMethod_GET_SELF(method) == call->env) {
    PyObject* const function = PyMethod_GET_FUNCTION(method);
    Py_INCREF(function);
    Py_DECREF(method);
    method = function;
    methods->takes_env |= 1U << hook;
  }
  methods->found[hook] = method;
  methods->version = class_version(call->env);
  return true;
}

// A new reference to what it returns, or null with the error set. `argument` may be null: there is none.
inline PyObject* call_method(EnvpoolCall* call, EnvpoolHook hook, PyObject* argument = nullptr) {
  const EnvpoolMethods& methods = *call->methods;
  const unsigned int version = class_version(call->env);
  const bool known = methods.found[hook] != nullptr && version == methods.version && version != 0;
  if (!known && !find_method(call, hook)) return nullptr;
  const size_t skipped = (methods.takes_env >> hook & 1U) != 0 ? 1 : 2;
  const size_t end = argument == nullptr ? 2 : 3;
  PyObject* arguments[] = {nullptr, call->env, argument};  // the place in front is the callee's to use
  return PyObject_Vectorcall(methods.found[hook], arguments + skipped,
                             (end - skipped) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
}

}  // namespace envpool
