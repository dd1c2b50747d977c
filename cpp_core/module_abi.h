// What the engine and a generated module promise each other: plain C, one version number, two structs.
//
// A module knows one env's leaves and how it is stepped; the engine knows NumPy, arenas and workers. Each
// hands the other a struct in a capsule when the module is imported, and refuses another version. All
// functions are called with the GIL held (or attached, on free-threaded Python), and one env is never in two
// calls at once. The prebuilt module (py_prebuilt.h) is the same struct, filled at run time inside the
// engine.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

#include "cpp_core/kernel_abi.h"
#include "cpp_core/leaf.h"

#define ENVPOOL_MODULE_ABI 6
#define ENVPOOL_HOST_CAPSULE "envpool_protocol._core.host"
#define ENVPOOL_MODULE_CAPSULE "envpool_wrap.module"

extern "C" {

struct EnvpoolModule;

// What can fail, by number; 0 is "nothing failed". The names are in kHookNames.
enum EnvpoolHook : int32_t {
  kNoHook,
  kInitHook,
  kSeedHook,
  kResetHook,
  kStepHook,
  kMakeObsHook,
  kDoneHook,
  kTruncatedHook,
  kRewardHook,
  kInfoHook,
  kCloseHook,
  kSeedMethod,  // of envs without hooks
  kResetMethod,
  kStepMethod,
  kCloseMethod,
  kApplied,  // a function that the user asked to call on the env
  kNumHooks,
};

// The methods of an env that its steps call, as a module found them (py_methods.h): by EnvpoolHook. The
// engine keeps them with the env, and forgets them whenever the env may have others.
struct EnvpoolMethods {
  unsigned int version;  // of the env's class, when they were found
  uint32_t takes_env;    // a bit for each: a function that wants the env as its first argument
  PyObject* found[kNumHooks];
};

// One call of a module function: which env, its inputs, and where the results go.
struct EnvpoolCall {
  const EnvpoolModule* module;
  PyObject* env;
  EnvpoolMethods* methods;
  PyObject* options;             // reset: a dict for the env, or null
  const int64_t* seed;           // reset: seed the env first, unless null
  const unsigned char* action;   // step: the bytes of this env's action …
  const size_t* action_offsets;  // … and where each action leaf starts in them
  PyObject** kept_actions;       // step: per action leaf, an array that may be reused, or null
  PyObject** outs;               // per obs leaf a null, for make_out
  PyObject* arena;               // what keeps the memory of rows
  // Where this row's state leaf lies. The first call decides which row it is.
  unsigned char* (*leaf)(EnvpoolCall* call, int32_t which);
  void* claim;
  // Results.
  int32_t terminated;
  int32_t truncated;
  PyObject* action_object;  // step: what the env was handed (a new reference)
  PyObject* info;           // undeclared info, a new reference, or null when there is none
  EnvpoolHook observed;     // what the observation came from
};

// What a module may ask of the engine.
struct EnvpoolHost {
  uint32_t abi;
  int32_t first_obs;     // number of the first obs leaf among the state leaves
  int32_t reward_leaf;   // number of the reward leaf
  PyObject* spec_error;  // the class SpecError
  // The data of `value` if it is an ndarray laid out exactly as `leaf`; else null, without an error.
  const void* (*array_data)(PyObject* value, const EnvpoolLeaf* leaf);
  // Converts any other value, checking its shape and kind. 0, or -1 with a Python error set.
  int (*store)(PyObject* value, const EnvpoolLeaf* leaf, void* to);
  // The same for the reward, which may also come as an array of one element.
  int (*store_reward)(PyObject* value, int32_t dtype, void* to);
  // An array holding a copy of `from`: the kept one when nobody else holds it, else a new one, kept in turn.
  PyObject* (*make_array)(PyObject** kept, const EnvpoolLeaf* leaf, const void* from);
  // An array over `data`, which `owner` keeps. A new reference.
  PyObject* (*make_view)(const EnvpoolLeaf* leaf, void* data, PyObject* owner);
};

// One place in the tree of the declared info. In pre-order; the root, a dict, is the first.
struct EnvpoolInfoNode {
  PyObject* key;      // in its parent; null for the root
  const char* place;  // for messages
  int32_t leaf;       // number of its leaf, or -1: a dict
  int32_t end;        // the first node that is not below this one
};

// What a module offers the engine.
struct EnvpoolModule {
  uint32_t abi;
  const char* task;  // the env's name, without _wrap
  int32_t reward_dtype;
  int32_t num_obs;
  int32_t num_actions;
  const EnvpoolLeaf* obs;
  const EnvpoolLeaf* actions;
  // Declared info: its leaves, then for each node but the root a bool: whether the env's info had it.
  int32_t num_info = 0;
  int32_t num_info_nodes = 0;
  const EnvpoolLeaf* info = nullptr;
  const EnvpoolInfoNode* info_nodes = nullptr;
  bool has_truncated;         // hooks: _truncated_envpool is to be called
  bool has_info;              // hooks: _info_envpool is to be called
  bool obs_takes_out;         // hooks: _make_obs_envpool is given `out`
  bool reset_takes_seed;      // other envs: reset(seed=...)
  bool options_are_env_info;  // other envs: reset(env_info=...) is how they take options
  bool obs_is_pair;           // the observation is a tuple of two with a dict last, as (obs, info) is
  // Copies an observation to its leaves. False with the Python error set.
  bool (*observe)(EnvpoolCall* call, PyObject* obs);
  // A new reference to what the env is handed, or null with the Python error set.
  PyObject* (*make_action)(EnvpoolCall* call);
  // The same of what it writes an observation into: arrays over the row, which are in call->outs, too.
  PyObject* (*make_out)(EnvpoolCall* call) = nullptr;
  // Each returns kNoHook, or what failed with the Python error set. One set per api: py_hooks.h, py_envs.h.
  EnvpoolHook (*reset)(EnvpoolCall* call);
  EnvpoolHook (*step)(EnvpoolCall* call);
  EnvpoolHook (*close)(EnvpoolCall* call);
  // The hooks as machine code, or null; and with bounds of indices checked.
  const EnvpoolKernel* kernel = nullptr;
  const EnvpoolKernel* checked_kernel = nullptr;
};

}  // extern "C"

namespace envpool {

inline void forget_methods(EnvpoolMethods* methods) {
  for (PyObject*& method : methods->found) Py_CLEAR(method);
  methods->takes_env = 0;
}

inline constexpr const char* kHookNames[kNumHooks] = {
    "",
    "__init__",
    "_seed_envpool",
    "_reset_envpool",
    "_step_envpool",
    "_make_obs_envpool",
    "_done_envpool",
    "_truncated_envpool",
    "_reward_envpool",
    "_info_envpool",
    "_close_envpool",
    "seed",
    "reset",
    "step",
    "close",
    "call",
};

}  // namespace envpool
