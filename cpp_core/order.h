// What the caller asks of a worker: which env, what to do with it, and where its row lies. Engines that serve
// runs of envs take several at once, with rows one behind the other.
#pragma once

#include <cstdint>

namespace envpool {

enum class Request : uint8_t { kBuild, kReset, kStep, kClose, kApply };

inline constexpr uint32_t kMostPerOrder = (1U << 24) - 1;
inline constexpr uint32_t kNoBlock = UINT32_MAX;

struct Order {
  uint32_t env;
  Request request;
  uint32_t block = kNoBlock;  // kNoBlock: the next free row, taken when the env is done; or no row at all
  uint32_t row = 0;
  uint32_t count = 1;
};

}  // namespace envpool
