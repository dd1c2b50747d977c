// Made from cpp_templates/env.cc.jinja for Nested. Edit the template, not this file.
//
// The env's leaves, where each value of an observation goes, what an action is made of, and how it is stepped.
#include "cpp_core/py_envs.h"
#include "cpp_core/py_hooks.h"

namespace {

using namespace envpool;

[[maybe_unused]] PyObject* keys[9] = {};

constexpr int64_t obs_1_lows[] = { -1 };
constexpr int64_t obs_1_highs[] = { 2 };
constexpr int64_t obs_2_shape[] = { 3 };
constexpr int64_t obs_2_lows[] = { 0, 0, 0 };
constexpr int64_t obs_2_highs[] = { 1, 1, 1 };
constexpr int64_t obs_3_shape[] = { 2, 3, 3 };
constexpr int64_t obs_4_shape[] = { 2 };
constexpr int64_t obs_5_shape[] = { 2, 2 };
constexpr int64_t obs_5_lows[] = { 0, 0, 0, 0 };
constexpr int64_t obs_5_highs[] = { 1, 2, 3, 4 };
constexpr int64_t action_1_lows[] = { -1 };
constexpr int64_t action_1_highs[] = { 2 };
constexpr int64_t action_2_shape[] = { 3 };
constexpr int64_t action_2_lows[] = { 0, 0, 0 };
constexpr int64_t action_2_highs[] = { 1, 1, 1 };
constexpr int64_t action_3_shape[] = { 2, 3, 3 };
constexpr int64_t action_4_shape[] = { 2 };
constexpr int64_t action_5_shape[] = { 2, 2 };
constexpr int64_t action_5_lows[] = { 0, 0, 0, 0 };
constexpr int64_t action_5_highs[] = { 1, 2, 3, 4 };

constexpr EnvpoolLeaf obs_leaves[] = {
    { "obs.arm.0", kFloat64, kArray, 0, nullptr, 1, 8, nullptr, nullptr },
    { "obs.arm.1.grip", kInt64, kDiscrete, 0, nullptr, 1, 8, obs_1_lows, obs_1_highs },
    { "obs.arm.1.on", kInt8, kArray, 1, obs_2_shape, 3, 3, obs_2_lows, obs_2_highs },
    { "obs.camera", kUInt8, kArray, 3, obs_3_shape, 18, 18, nullptr, nullptr },
    { "obs.half", kFloat16, kArray, 1, obs_4_shape, 2, 4, nullptr, nullptr },
    { "obs.odd \042key\042 \134 \303\251", kInt64, kArray, 2, obs_5_shape, 4, 32, obs_5_lows, obs_5_highs },
};

constexpr EnvpoolLeaf action_leaves[] = {
    { "action.arm.0", kFloat64, kArray, 0, nullptr, 1, 8, nullptr, nullptr },
    { "action.arm.1.grip", kInt64, kDiscrete, 0, nullptr, 1, 8, action_1_lows, action_1_highs },
    { "action.arm.1.on", kInt8, kArray, 1, action_2_shape, 3, 3, action_2_lows, action_2_highs },
    { "action.camera", kUInt8, kArray, 3, action_3_shape, 18, 18, nullptr, nullptr },
    { "action.half", kFloat16, kArray, 1, action_4_shape, 2, 4, nullptr, nullptr },
    { "action.odd \042key\042 \134 \303\251", kInt64, kArray, 2, action_5_shape, 4, 32, action_5_lows, action_5_highs },
};

bool observe(EnvpoolCall* call, PyObject* obs) {
  if (!has_length(obs, 4, "obs")) return false;
  const Ref node1(member(obs, keys[0], "obs"));
  if (!node1) return false;
  const Ref node6(member(obs, keys[1], "obs"));
  if (!node6) return false;
  const Ref node7(member(obs, keys[2], "obs"));
  if (!node7) return false;
  const Ref node8(member(obs, keys[3], "obs"));
  if (!node8) return false;
  if (!has_length(node1.get(), 2, "obs.arm")) return false;
  const Ref node2(member(node1.get(), keys[4], "obs.arm"));
  if (!node2) return false;
  const Ref node3(member(node1.get(), keys[5], "obs.arm"));
  if (!node3) return false;
  if (!store_obs<8>(call, node2.get(), obs_leaves[0], 0)) return false;
  if (!has_length(node3.get(), 2, "obs.arm.1")) return false;
  const Ref node4(member(node3.get(), keys[6], "obs.arm.1"));
  if (!node4) return false;
  const Ref node5(member(node3.get(), keys[7], "obs.arm.1"));
  if (!node5) return false;
  if (!store_obs<8>(call, node4.get(), obs_leaves[1], 1)) return false;
  if (!store_obs<3>(call, node5.get(), obs_leaves[2], 2)) return false;
  if (!store_obs<18>(call, node6.get(), obs_leaves[3], 3)) return false;
  if (!store_obs<4>(call, node7.get(), obs_leaves[4], 4)) return false;
  if (!store_obs<32>(call, node8.get(), obs_leaves[5], 5)) return false;
  return true;
}

PyObject* make_action(EnvpoolCall* call) {
  Ref node8(array_action(call, action_leaves[5], 5));
  Ref node7(array_action(call, action_leaves[4], 4));
  Ref node6(array_action(call, action_leaves[3], 3));
  Ref node5(array_action(call, action_leaves[2], 2));
  Ref node4(int_action(call, action_leaves[1], 1));
  Ref node3(make_dict({{keys[6], node4.get()}, {keys[7], node5.get()}}));
  Ref node2(array_action(call, action_leaves[0], 0));
  Ref node1(make_tuple({node2.get(), node3.get()}));
  Ref node0(make_dict({{keys[0], node1.get()}, {keys[1], node6.get()}, {keys[2], node7.get()}, {keys[3], node8.get()}}));
  return node0.release();
}

}  // namespace

extern const EnvpoolModule envpool_module = {
    .abi = ENVPOOL_MODULE_ABI,
    .task = "Nested",
    .reward_dtype = kFloat32,
    .num_obs = 6,
    .num_actions = 6,
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
  keys[0] = PyUnicode_FromStringAndSize("arm", 3);
  if (keys[0] == nullptr) return false;
  keys[1] = PyUnicode_FromStringAndSize("camera", 6);
  if (keys[1] == nullptr) return false;
  keys[2] = PyUnicode_FromStringAndSize("half", 4);
  if (keys[2] == nullptr) return false;
  keys[3] = PyUnicode_FromStringAndSize("odd \042key\042 \134 \303\251", 14);
  if (keys[3] == nullptr) return false;
  keys[4] = PyLong_FromLong(0);
  if (keys[4] == nullptr) return false;
  keys[5] = PyLong_FromLong(1);
  if (keys[5] == nullptr) return false;
  keys[6] = PyUnicode_FromStringAndSize("grip", 4);
  if (keys[6] == nullptr) return false;
  keys[7] = PyUnicode_FromStringAndSize("on", 2);
  if (keys[7] == nullptr) return false;
  return names.intern();
}
