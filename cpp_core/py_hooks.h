// For modules: the api "hooks". Which hooks of an EnvPoolProtocol are called, in which order.
#pragma once

#include "cpp_core/py_results.h"

namespace envpool::hooks {

inline EnvpoolHook observe(EnvpoolCall* call) {
  call->observed = kMakeObsHook;
  const Ref obs(call_method(call, kMakeObsHook));
  return obs && call->module->observe(call, obs.get()) ? kNoHook : kMakeObsHook;
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
  if (!as_flag(call_hook(kDoneHook).get(), &call->terminated)) return kDoneHook;
  if (call->module->has_truncated && !as_flag(call_hook(kTruncatedHook).get(), &call->truncated)) {
    return kTruncatedHook;
  }
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
