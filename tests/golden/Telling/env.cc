// Made from cpp_templates/env.cc.jinja for Telling. Edit the template, not this file.
//
// The env's leaves, where each value of an observation goes, what an action is made of, and how it is stepped.
#include "cpp_core/py_envs.h"
#include "cpp_core/py_hooks.h"

namespace {

using namespace envpool;

[[maybe_unused]] PyObject* keys[7] = {};

constexpr int64_t obs_0_shape[] = { 1 };
constexpr int64_t action_0_lows[] = { 0 };
constexpr int64_t action_0_highs[] = { 1 };
constexpr int64_t info_0_shape[] = { 2 };
constexpr int64_t info_1_lows[] = { 0 };
constexpr int64_t info_1_highs[] = { 1 };
constexpr int64_t info_2_shape[] = { 8 };

constexpr EnvpoolLeaf obs_leaves[] = {
    { "obs", kFloat32, kArray, 1, obs_0_shape, 1, 4, nullptr, nullptr },
};

constexpr EnvpoolLeaf action_leaves[] = {
    { "action", kInt64, kDiscrete, 0, nullptr, 1, 8, action_0_lows, action_0_highs },
};

constexpr EnvpoolLeaf info_leaves[] = {
    { "info.arm.joints", kFloat32, kArray, 1, info_0_shape, 2, 8, nullptr, nullptr },
    { "info.arm.on", kInt64, kDiscrete, 0, nullptr, 1, 8, info_1_lows, info_1_highs },
    { "info.mission", kUInt32, kText, 1, info_2_shape, 8, 32, nullptr, nullptr },
    { "info.score", kFloat64, kArray, 0, nullptr, 1, 8, nullptr, nullptr },
    { "info.won", kBool, kArray, 0, nullptr, 1, 1, nullptr, nullptr },
    { "_info.arm", kBool, kArray, 0, nullptr, 1, 1, nullptr, nullptr },
    { "_info.arm.joints", kBool, kArray, 0, nullptr, 1, 1, nullptr, nullptr },
    { "_info.arm.on", kBool, kArray, 0, nullptr, 1, 1, nullptr, nullptr },
    { "_info.mission", kBool, kArray, 0, nullptr, 1, 1, nullptr, nullptr },
    { "_info.score", kBool, kArray, 0, nullptr, 1, 1, nullptr, nullptr },
    { "_info.won", kBool, kArray, 0, nullptr, 1, 1, nullptr, nullptr },
};

EnvpoolInfoNode info_nodes[] = {
    { nullptr, "info", -1, 7 },
    { nullptr, "info.arm", -1, 4 },
    { nullptr, "info.arm.joints", 0, 3 },
    { nullptr, "info.arm.on", 1, 4 },
    { nullptr, "info.mission", 2, 5 },
    { nullptr, "info.score", 3, 6 },
    { nullptr, "info.won", 4, 7 },
};

bool observe(EnvpoolCall* call, PyObject* obs) {
  if (!store_obs<4>(call, obs, obs_leaves[0], 0)) return false;
  return true;
}

PyObject* make_action(EnvpoolCall* call) {
  Ref node0(int_action(call, action_leaves[0], 0));
  return node0.release();
}

}  // namespace

extern const EnvpoolModule envpool_module = {
    .abi = ENVPOOL_MODULE_ABI,
    .task = "Telling",
    .reward_dtype = kFloat32,
    .num_obs = 1,
    .num_actions = 1,
    .obs = obs_leaves,
    .actions = action_leaves,
    .num_info = 11,
    .num_info_nodes = 7,
    .info = info_leaves,
    .info_nodes = info_nodes,
    .has_truncated = false,
    .has_info = true,
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
  keys[1] = PyUnicode_FromStringAndSize("joints", 6);
  if (keys[1] == nullptr) return false;
  keys[2] = PyUnicode_FromStringAndSize("on", 2);
  if (keys[2] == nullptr) return false;
  keys[3] = PyUnicode_FromStringAndSize("mission", 7);
  if (keys[3] == nullptr) return false;
  keys[4] = PyUnicode_FromStringAndSize("score", 5);
  if (keys[4] == nullptr) return false;
  keys[5] = PyUnicode_FromStringAndSize("won", 3);
  if (keys[5] == nullptr) return false;
  info_nodes[1].key = keys[0];
  info_nodes[2].key = keys[1];
  info_nodes[3].key = keys[2];
  info_nodes[4].key = keys[3];
  info_nodes[5].key = keys[4];
  info_nodes[6].key = keys[5];
  return names.intern();
}
