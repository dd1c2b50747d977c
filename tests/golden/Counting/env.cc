// Made from cpp_templates/env.cc.jinja for Counting. Edit the template, not this file.
//
// The env's leaves, where each value of an observation goes, what an action is made of, and how it is stepped.
#include "cpp_core/py_envs.h"
#include "cpp_core/py_hooks.h"

namespace {

using namespace envpool;

[[maybe_unused]] PyObject* keys[1] = {};

constexpr int64_t obs_0_shape[] = { 3 };
constexpr int64_t action_0_shape[] = { 1 };

constexpr EnvpoolLeaf obs_leaves[] = {
    { "obs", kFloat32, kArray, 1, obs_0_shape, 3, 12, nullptr, nullptr },
};

constexpr EnvpoolLeaf action_leaves[] = {
    { "action", kFloat32, kArray, 1, action_0_shape, 1, 4, nullptr, nullptr },
};

bool observe(EnvpoolCall* call, PyObject* obs) {
  if (!store_obs<12>(call, obs, obs_leaves[0], 0)) return false;
  return true;
}

PyObject* make_action(EnvpoolCall* call) {
  Ref node0(array_action(call, action_leaves[0], 0));
  return node0.release();
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
    .has_truncated = false,
    .has_info = false,
    .obs_takes_out = false,
    .reset_takes_seed = false,
    .options_are_env_info = false,
    .obs_is_pair = false,
    .observe = observe,
    .make_action = make_action,
    .reset = hooks::reset,
    .step = hooks::step,
    .close = hooks::close,
};

bool envpool_plug_in(const EnvpoolHost* engine) {
  host = engine;
  return names.intern();
}
