// For modules: the api "hooks". Which hooks of an EnvPoolProtocol are called, in which order.
#pragma once

#include "cpp_core/py_results.h"

namespace envpool::hooks {

// Lets go of the arrays that an env wrote into. False with the Python error set if it kept one, or a view of
// one: the row will be somebody else's.
inline bool take_back_outs(EnvpoolCall* call) {
  bool kept = false;
  for (int32_t leaf = 0; leaf < call->module->num_obs; ++leaf) {
    kept = kept || (call->outs[leaf] != nullptr && Py_REFCNT(call->outs[leaf]) > 1);
    Py_CLEAR(call->outs[leaf]);
  }
  if (kept && !PyErr_Occurred()) {
    PyErr_SetString(host->spec_error,
                    "_make_obs_envpool kept `out`, or a view of it; it is the env's during the call only: "
                    "keep a copy");
  }
  return !kept;
}

// `env._make_obs_envpool(out)`: an env may write its observation where it belongs. What it returns instead of
// `out` or None is copied as ever.
inline bool observe_into_row(EnvpoolCall* call) {
  bool observed = false;
  {
    const Ref out(call->module->make_out(call));
    const Ref obs(out ? call_method(call, kMakeObsHook, out.get()) : nullptr);
    observed =
        obs && (obs.get() == Py_None || obs.get() == out.get() || call->module->observe(call, obs.get()));
  }
  return take_back_outs(call) && observed;
}

inline bool observe_by_copy(EnvpoolCall* call) {
  const Ref obs(call_method(call, kMakeObsHook));
  return obs && call->module->observe(call, obs.get());
}

inline EnvpoolHook observe(EnvpoolCall* call) {
  call->observed = kMakeObsHook;
  const bool observed = call->module->obs_takes_out ? observe_into_row(call) : observe_by_copy(call);
  return observed ? kNoHook : kMakeObsHook;
}

// `env._reset_envpool(**options)`; options may be null.
inline PyObject* call_with_options(PyObject* env, PyObject* options) {
  if (options == nullptr) return PyObject_CallMethodNoArgs(env, names[kResetHook]);
  const Ref method(PyObject_GetAttr(env, names[kResetHook]));
  const Ref nothing(PyTuple_New(0));
  if (!method || !nothing) return nullptr;
  return PyObject_Call(method.get(), nothing.get(), options);
}

inline PyObject* call_with_seed(PyObject* env, int64_t seed) {
  const Ref number(PyLong_FromLongLong(seed));
  return number ? PyObject_CallMethodOneArg(env, names[kSeedHook], number.get()) : nullptr;
}

inline EnvpoolHook reset(EnvpoolCall* call) {
  if (call->seed != nullptr && !ok(call_with_seed(call->env, *call->seed))) return kSeedHook;
  if (!ok(call_with_options(call->env, call->options))) return kResetHook;
  return observe(call);
}

inline EnvpoolHook step(EnvpoolCall* call) {
  const auto call_hook = [call](EnvpoolHook hook) { return Ref(call_method(call, hook)); };
  call->action_object = call->module->make_action(call);
  if (call->action_object == nullptr) return kStepHook;
  if (!ok(call_method(call, kStepHook, call->action_object))) return kStepHook;
  if (const EnvpoolHook failed = observe(call); failed != kNoHook) return failed;
  const auto call_flag = [&call_hook](EnvpoolHook hook, int32_t* flag) {
    return as_flag(call_hook(hook).get(), flag, kHookNames[hook]);
  };
  if (!call_flag(kDoneHook, &call->terminated)) return kDoneHook;
  if (call->module->has_truncated && !call_flag(kTruncatedHook, &call->truncated)) return kTruncatedHook;
  if (!as_reward(call, call_hook(kRewardHook).get())) return kRewardHook;
  if (call->module->has_info && !as_info(call, call_hook(kInfoHook).get(), "what _info_envpool returns")) {
    return kInfoHook;
  }
  return kNoHook;
}

inline EnvpoolHook close(EnvpoolCall* call) {
  return ok(PyObject_CallMethodNoArgs(call->env, names[kCloseHook])) ? kNoHook : kCloseHook;
}

}  // namespace envpool::hooks
