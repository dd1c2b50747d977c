// For modules: the apis "gymnasium", "gym" and "dm_env". One call into Python per step, and how its result is
// read. "gym" takes both steps of old gym, (obs, reward, done, info) and the later five, and both resets.
#pragma once

#include "cpp_core/py_results.h"

namespace envpool {

// ---- what the three have in common ----

inline PyObject* call_step(EnvpoolCall* call) {
  call->action_object = call->module->make_action(call);
  if (call->action_object == nullptr) return nullptr;
  return call_method(call, kStepMethod, call->action_object);
}

// env.reset(), with the keywords `seed` and `options`, or `env_info`, where there is something to say.
inline PyObject* call_reset(EnvpoolCall* call, bool with_seed) {
  PyObject* arguments[4] = {nullptr, call->env};  // one place in front of them is the callee's to use
  size_t given = 2;
  const Ref keywords(PyList_New(0));
  const Ref seed(with_seed ? PyLong_FromLongLong(*call->seed) : nullptr);
  if (!keywords || (with_seed && !seed)) return nullptr;
  const auto add = [&](const char* keyword, PyObject* value) {
    const Ref name(PyUnicode_InternFromString(keyword));
    arguments[given++] = value;
    return name && PyList_Append(keywords.get(), name.get()) == 0;
  };
  if (with_seed && !add("seed", seed.get())) return nullptr;
  const char* options = call->module->options_are_env_info ? "env_info" : "options";
  if (call->options != nullptr && !add(options, call->options)) return nullptr;
  if (given == 2) return PyObject_CallMethodNoArgs(call->env, names[kResetMethod]);
  const Ref keyword_names(PyList_AsTuple(keywords.get()));
  if (!keyword_names) return nullptr;
  return PyObject_VectorcallMethod(names[kResetMethod], arguments + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                   keyword_names.get());
}

// Envs whose reset takes no seed: whatever else can be seeded.
inline bool seed_env(EnvpoolCall* call) {
  const Ref module(PyImport_ImportModule("envpool_protocol.seeding"));
  return module && ok(PyObject_CallMethod(module.get(), "seed_env", "OL", call->env,
                                          static_cast<long long>(*call->seed)));
}

inline EnvpoolHook close_env(EnvpoolCall* call) {
  const Ref method(PyObject_GetAttr(call->env, names[kCloseMethod]));
  if (!method) {  // old envs need not have one
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return kCloseMethod;
    PyErr_Clear();
    return kNoHook;
  }
  return ok(PyObject_CallNoArgs(method.get())) ? kNoHook : kCloseMethod;
}

inline bool is_tuple_of(PyObject* value, Py_ssize_t size) {
  return PyTuple_Check(value) && PyTuple_GET_SIZE(value) == size;
}

inline bool refuse(const char* method, const char* expected, PyObject* found) {
  if (PyTuple_Check(found)) {
    PyErr_Format(host->spec_error, "%s must return %s, found a tuple of %zd: %.100R", method, expected,
                 PyTuple_GET_SIZE(found), found);
  } else {
    PyErr_Format(host->spec_error, "%s must return %s, found a %s: %.100R", method, expected,
                 Py_TYPE(found)->tp_name, found);
  }
  return false;
}

inline bool read_five(EnvpoolCall* call, PyObject* result) {
  return call->module->observe(call, PyTuple_GET_ITEM(result, 0)) &&
         as_reward(call, PyTuple_GET_ITEM(result, 1)) &&
         as_flag(PyTuple_GET_ITEM(result, 2), &call->terminated) &&
         as_flag(PyTuple_GET_ITEM(result, 3), &call->truncated) &&
         as_info(call, PyTuple_GET_ITEM(result, 4), "the info of step");
}

inline bool read_pair(EnvpoolCall* call, PyObject* result) {
  return call->module->observe(call, PyTuple_GET_ITEM(result, 0)) &&
         as_info(call, PyTuple_GET_ITEM(result, 1), "the info of reset");
}

}  // namespace envpool

namespace envpool::gymnasium {

inline EnvpoolHook reset(EnvpoolCall* call) {
  const Ref result(call_reset(call, call->seed != nullptr && call->module->reset_takes_seed));
  if (!result) return kResetMethod;
  const bool read = is_tuple_of(result.get(), 2) ? read_pair(call, result.get())
                                                 : refuse("reset", "(obs, info)", result.get());
  return read ? kNoHook : kResetMethod;
}

inline bool refuse_step(PyObject* found) {
  return refuse("step",
                is_tuple_of(found, 4) ? "(obs, reward, terminated, truncated, info), since its class is a "
                                        "gymnasium.Env (of other classes, old gym's four values are taken)"
                                      : "(obs, reward, terminated, truncated, info)",
                found);
}

inline EnvpoolHook step(EnvpoolCall* call) {
  const Ref result(call_step(call));
  if (!result) return kStepMethod;
  const bool read = is_tuple_of(result.get(), 5) ? read_five(call, result.get()) : refuse_step(result.get());
  return read ? kNoHook : kStepMethod;
}

inline EnvpoolHook close(EnvpoolCall* call) { return close_env(call); }

}  // namespace envpool::gymnasium

namespace envpool::gym {

// Whether reset returned (obs, info), not an observation alone that looks like it.
inline bool is_reset_pair(const EnvpoolCall* call, PyObject* result) {
  if (!is_tuple_of(result, 2) || !PyDict_Check(PyTuple_GET_ITEM(result, 1))) return false;
  PyObject* obs = PyTuple_GET_ITEM(result, 0);
  return !call->module->obs_is_pair || (is_tuple_of(obs, 2) && PyDict_Check(PyTuple_GET_ITEM(obs, 1)));
}

// The flags of (obs, reward, done, info): old gym's TimeLimit says in info whether it cut the episode.
inline bool read_done(EnvpoolCall* call, PyObject* done, PyObject* info) {
  int32_t is_done = 0;
  if (!as_flag(done, &is_done)) return false;
  PyObject* cut = PyDict_GetItemString(info, "TimeLimit.truncated");
  if (is_done && cut != nullptr && !as_flag(cut, &call->truncated)) return false;
  call->terminated = is_done && !call->truncated;
  return true;
}

inline bool read_four(EnvpoolCall* call, PyObject* result) {
  PyObject* info = PyTuple_GET_ITEM(result, 3);
  return call->module->observe(call, PyTuple_GET_ITEM(result, 0)) &&
         as_reward(call, PyTuple_GET_ITEM(result, 1)) && as_info(call, info, "the info of step") &&
         read_done(call, PyTuple_GET_ITEM(result, 2), info);
}

inline EnvpoolHook reset(EnvpoolCall* call) {
  const bool with_seed = call->seed != nullptr && call->module->reset_takes_seed;
  if (call->seed != nullptr && !with_seed && !seed_env(call)) return kSeedMethod;
  const Ref result(call_reset(call, with_seed));
  if (!result) return kResetMethod;
  const bool read = is_reset_pair(call, result.get()) ? read_pair(call, result.get())
                                                      : call->module->observe(call, result.get());
  return read ? kNoHook : kResetMethod;
}

inline EnvpoolHook step(EnvpoolCall* call) {
  const Ref result(call_step(call));
  if (!result) return kStepMethod;
  const bool read = is_tuple_of(result.get(), 4)   ? read_four(call, result.get())
                    : is_tuple_of(result.get(), 5) ? read_five(call, result.get())
                                                   : refuse("step", "a tuple of 4 or 5", result.get());
  return read ? kNoHook : kStepMethod;
}

inline EnvpoolHook close(EnvpoolCall* call) { return close_env(call); }

}  // namespace envpool::gym

namespace envpool::dm_env {

enum StepType : long { kFirst, kMid, kLast };
enum Field { kStepType, kRewardField, kDiscountField, kObservationField, kNumFields };

inline bool refuse_time_step(const char* method, PyObject* found) {
  return refuse(method, "a dm_env.TimeStep", found);
}

inline EnvpoolHook reset(EnvpoolCall* call) {
  if (call->seed != nullptr && !seed_env(call)) return kSeedMethod;
  const Ref result(call_reset(call, false));
  if (!result) return kResetMethod;
  const bool read = is_tuple_of(result.get(), kNumFields)
                        ? call->module->observe(call, PyTuple_GET_ITEM(result.get(), kObservationField))
                        : refuse_time_step("reset", result.get());
  return read ? kNoHook : kResetMethod;
}

// An episode that ends with a discount of 0 has terminated; with any other, it was cut.
inline bool read_end(EnvpoolCall* call, PyObject* discount) {
  if (discount == Py_None) {
    PyErr_SetString(host->spec_error,
                    "step: the discount of the last TimeStep is None; expected a number, 0 if the episode "
                    "terminated");
    return false;
  }
  const double value = PyFloat_AsDouble(discount);
  if (value == -1.0 && PyErr_Occurred()) return false;
  call->terminated = value == 0.0;
  call->truncated = !call->terminated;
  return true;
}

inline bool read_time_step(EnvpoolCall* call, PyObject* result) {
  const long step_type = PyLong_AsLong(PyTuple_GET_ITEM(result, kStepType));
  if (step_type == -1 && PyErr_Occurred()) return false;
  if (step_type == kFirst) {
    PyErr_SetString(host->spec_error, "step returned a first TimeStep; expected MID or LAST after a reset");
    return false;
  }
  PyObject* reward = PyTuple_GET_ITEM(result, kRewardField);
  const Ref nothing(PyFloat_FromDouble(0.0));
  return call->module->observe(call, PyTuple_GET_ITEM(result, kObservationField)) &&
         as_reward(call, reward == Py_None ? nothing.get() : reward) &&
         (step_type != kLast || read_end(call, PyTuple_GET_ITEM(result, kDiscountField)));
}

inline EnvpoolHook step(EnvpoolCall* call) {
  const Ref result(call_step(call));
  if (!result) return kStepMethod;
  const bool read = is_tuple_of(result.get(), kNumFields) ? read_time_step(call, result.get())
                                                          : refuse_time_step("step", result.get());
  return read ? kNoHook : kStepMethod;
}

inline EnvpoolHook close(EnvpoolCall* call) { return close_env(call); }

}  // namespace envpool::dm_env
