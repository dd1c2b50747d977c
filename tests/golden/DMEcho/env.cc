// Made from cpp_templates/env.cc.jinja for DMEcho. Edit the template, not this file.
//
// The env's leaves, where each value of an observation goes, what an action is made of, and how it is stepped.
#include "cpp_core/py_envs.h"
#include "cpp_core/py_hooks.h"

namespace {

using namespace envpool;

[[maybe_unused]] PyObject* keys[7] = {};

constexpr int64_t obs_1_lows[] = { 0 };
constexpr int64_t obs_1_highs[] = { 3 };
constexpr int64_t obs_2_shape[] = { 2 };
constexpr int64_t action_0_lows[] = { 0 };
constexpr int64_t action_0_highs[] = { 3 };
constexpr int64_t action_1_shape[] = { 2 };

constexpr EnvpoolLeaf obs_leaves[] = {
    { "obs.t", kInt32, kArray, 0, nullptr, 1, 4, nullptr, nullptr },
    { "obs.echo.0.grip", kInt64, kDiscrete, 0, nullptr, 1, 8, obs_1_lows, obs_1_highs },
    { "obs.echo.0.arm.0", kFloat64, kArray, 1, obs_2_shape, 2, 16, nullptr, nullptr },
    { "obs.echo.0.arm.1", kFloat32, kArray, 0, nullptr, 1, 4, nullptr, nullptr },
};

constexpr EnvpoolLeaf action_leaves[] = {
    { "action.grip", kInt64, kDiscrete, 0, nullptr, 1, 8, action_0_lows, action_0_highs },
    { "action.arm.0", kFloat64, kArray, 1, action_1_shape, 2, 16, nullptr, nullptr },
    { "action.arm.1", kFloat32, kArray, 0, nullptr, 1, 4, nullptr, nullptr },
};

bool observe(EnvpoolCall* call, PyObject* obs) {
  if (!has_length(obs, 2, "obs")) return false;
  const Ref node1(member(obs, keys[0], "obs"));
  if (!node1) return false;
  const Ref node2(member(obs, keys[1], "obs"));
  if (!node2) return false;
  if (!store_obs<4>(call, node1.get(), obs_leaves[0], 0)) return false;
  if (!has_length(node2.get(), 1, "obs.echo")) return false;
  const Ref node3(member(node2.get(), keys[2], "obs.echo"));
  if (!node3) return false;
  if (!has_length(node3.get(), 2, "obs.echo.0")) return false;
  const Ref node4(member(node3.get(), keys[3], "obs.echo.0"));
  if (!node4) return false;
  const Ref node5(member(node3.get(), keys[4], "obs.echo.0"));
  if (!node5) return false;
  if (!store_obs<8>(call, node4.get(), obs_leaves[1], 1)) return false;
  if (!has_length(node5.get(), 2, "obs.echo.0.arm")) return false;
  const Ref node6(member(node5.get(), keys[2], "obs.echo.0.arm"));
  if (!node6) return false;
  const Ref node7(member(node5.get(), keys[5], "obs.echo.0.arm"));
  if (!node7) return false;
  if (!store_obs<16>(call, node6.get(), obs_leaves[2], 2)) return false;
  if (!store_obs<4>(call, node7.get(), obs_leaves[3], 3)) return false;
  return true;
}

PyObject* make_action(EnvpoolCall* call) {
  Ref node4(array_action(call, action_leaves[2], 2));
  Ref node3(array_action(call, action_leaves[1], 1));
  Ref node2(make_tuple({node3.get(), node4.get()}));
  Ref node1(int_action(call, action_leaves[0], 0));
  Ref node0(make_dict({{keys[3], node1.get()}, {keys[4], node2.get()}}));
  return node0.release();
}

}  // namespace

extern const EnvpoolModule envpool_module = {
    .abi = ENVPOOL_MODULE_ABI,
    .task = "DMEcho",
    .reward_dtype = kFloat64,
    .num_obs = 4,
    .num_actions = 3,
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
    .reset = dm_env::reset,
    .step = dm_env::step,
    .close = dm_env::close,
};

bool envpool_plug_in(const EnvpoolHost* engine) {
  host = engine;
  keys[0] = PyUnicode_FromStringAndSize("t", 1);
  if (keys[0] == nullptr) return false;
  keys[1] = PyUnicode_FromStringAndSize("echo", 4);
  if (keys[1] == nullptr) return false;
  keys[2] = PyLong_FromLong(0);
  if (keys[2] == nullptr) return false;
  keys[3] = PyUnicode_FromStringAndSize("grip", 4);
  if (keys[3] == nullptr) return false;
  keys[4] = PyUnicode_FromStringAndSize("arm", 3);
  if (keys[4] == nullptr) return false;
  keys[5] = PyLong_FromLong(1);
  if (keys[5] == nullptr) return false;
  return names.intern();
}
