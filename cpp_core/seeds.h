// The seed of each env: given to it before its next reset, and again when it was built anew.
//
// The caller's thread only, and for an env only while it is idle.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cpp_core/arena.h"

namespace envpool {

class Seeds {
 public:
  explicit Seeds(const Arena& arena) : arena_(arena), seeds_(arena.layout().num_envs) {}

  std::optional<int64_t> of(uint32_t env) const { return seeds_.at(env); }

  // Without a seed, the env's next reset gives it none.
  void set(uint32_t env, std::optional<int64_t> seed) {
    seeds_.at(env) = seed;
    arena_.slot(env).seed = seed.value_or(0);
    give_again(env);
  }
  void give_again(uint32_t env) { arena_.slot(env).reseed = seeds_[env].has_value(); }

 private:
  const Arena arena_;
  std::vector<std::optional<int64_t>> seeds_;
};

}  // namespace envpool
