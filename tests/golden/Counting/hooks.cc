// Made from cpp_templates/hooks.cc.jinja for Counting. Edit the template, not this file.
//
// The env's leaves, and one step of it: which hooks are called in which order, and where their results go.
#include "cpp_core/py_hooks.h"

namespace {

using namespace envpool;

const EnvpoolHost* host = nullptr;
HookNames hooks;
PyObject* keys[1] = {};

constexpr int64_t obs_0_shape[] = { 3 };
constexpr int64_t action_0_shape[] = { 1 };

constexpr EnvpoolLeaf obs_leaves[] = {
    { "obs", kFloat32, kArray, 1, obs_0_shape, 3, 12, nullptr, nullptr },
};

constexpr EnvpoolLeaf action_leaves[] = {
    { "action", kFloat32, kArray, 1, action_0_shape, 1, 4, nullptr, nullptr },
};

EnvpoolHook observe(EnvpoolCall* call) {
  const Ref node0(PyObject_CallMethodNoArgs(call->env, hooks[kMakeObsHook]));
  if (!node0) return kMakeObsHook;
  if (!store_obs<12>(host, call, node0.get(), obs_leaves[0], 0)) return kMakeObsHook;
  return kNoHook;
}

PyObject* make_action(EnvpoolCall* call) {
  Ref node0(array_action(host, call, action_leaves[0], 0));
  return node0.release();
}

EnvpoolHook reset(EnvpoolCall* call) {
  if (call->seed != nullptr && !ok(call_with_int(call->env, hooks[kSeedHook], *call->seed))) return kSeedHook;
  if (!ok(call_with_options(call->env, hooks[kResetHook], call->options))) return kResetHook;
  return observe(call);
}

EnvpoolHook step(EnvpoolCall* call) {
  PyObject* env = call->env;
  call->action_object = make_action(call);
  if (call->action_object == nullptr) return kStepHook;
  if (!ok(PyObject_CallMethodOneArg(env, hooks[kStepHook], call->action_object))) return kStepHook;
  if (const EnvpoolHook failed = observe(call); failed != kNoHook) return failed;
  if (!as_flag(PyObject_CallMethodNoArgs(env, hooks[kDoneHook]), &call->terminated)) return kDoneHook;
  void* reward = call->leaf(call, host->reward_leaf);
  if (!as_reward(host, PyObject_CallMethodNoArgs(env, hooks[kRewardHook]), kFloat32, reward)) return kRewardHook;
  return kNoHook;
}

EnvpoolHook close(EnvpoolCall* call) {
  return ok(PyObject_CallMethodNoArgs(call->env, hooks[kCloseHook])) ? kNoHook : kCloseHook;
}

}  // namespace

extern const EnvpoolModule envpool_module = {
    .abi = ENVPOOL_MODULE_ABI,
    .task = "Counting",
    .reward_dtype = kFloat32,
    .num_obs = 1,
    .num_actions = 1,
    .obs = obs_leaves,
    .actions = action_leaves,
    .reset = reset,
    .step = step,
    .close = close,
};

bool envpool_plug_in(const EnvpoolHost* engine) {
  host = engine;
  return hooks.intern();
}
