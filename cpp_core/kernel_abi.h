// What a compiled class promises the engine: plain C functions over one env's state, without Python.
//
// The state of an env is a record that holds whatever its hooks keep between calls; the engine copies, moves
// and saves it as bytes. A function touches nothing but what it is given, so different envs may be in calls
// at once, on any thread. An env whose function failed keeps whatever state it was left in.
#pragma once

#include <cstdint>

extern "C" {

// Where a function writes one row, by number: the reward, the two flags, the leaves of the observation, then
// those of the declared info with their masks.
enum EnvpoolKernelLeaf : int32_t {
  kKernelReward,
  kKernelTerminated,
  kKernelTruncated,
  kKernelFirstObs,
};

// One exception: faults.py reads it. Its texts are valid as long as the module that made it is loaded.
struct EnvpoolRaised {
  static constexpr int32_t kMaxValues = 6;
  static constexpr int32_t kMaxLines = 8;

  const char* what;  // JSON: class, arguments, and where it was raised
  int32_t num_values;
  int32_t num_lines;
  int64_t values[kMaxValues];  // of arguments that are known at run time only: integers, or bits of a double
  const char* lines[kMaxLines];  // JSON: the calls that it went through, innermost first
};

// Each returns 0, or the EnvpoolHook that raised, and then points `*error` to the EnvpoolRaised of this
// thread, which its next call may overwrite.
struct EnvpoolKernel {
  uint64_t state_bytes;  // of a record; records lie one behind the other
  int32_t (*seed)(unsigned char* state, int64_t seed, void** error);
  // Writes the leaves of the observation.
  int32_t (*reset)(unsigned char* state, unsigned char* const* leaves, void** error);
  // Writes all leaves. `action`: this env's bytes, each leaf of the action at its offset in the layout.
  int32_t (*step)(unsigned char* state, const unsigned char* action, unsigned char* const* leaves,
                  void** error);
};

}  // extern "C"
