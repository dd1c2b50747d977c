// Notices envs that draw from NumPy's global generator while others run on other threads: which of them gets
// which number then depends on the timing.
//
// Workers look before and after a call of an env, with the GIL, at the first steps of the first envs only:
// the envs of a pool are alike. What the user draws is not taken for an env's: a call counts only when the
// caller was inside the pool for the whole of it. (What yet another thread of the user's draws cannot be told
// apart.)
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <cstdint>

#include "cpp_core/py_errors.h"

namespace envpool {

class RandomWatch {
 public:
  static constexpr uint64_t kSteps = 100;
  static constexpr uint32_t kEnvs = 16;

  RandomWatch() : watch_(py::module_::import("envpool_protocol.global_random").attr("GlobalRandomWatch")()) {}

  // By the caller, when it begins and when it ends to wait for envs.
  void caller_comes_or_goes() { passages_.fetch_add(1); }

  struct Before {
    uint64_t passages = 0;
    py::object state;  // empty: nobody looks
  };
  Before before(uint32_t env, uint64_t steps) const {
    if (env >= kEnvs || steps >= kSteps) return {};
    return {passages_.load(), watch_.attr("state")()};
  }
  // Warns where there is reason to; throws what the user makes of warnings.
  void after(uint32_t env, const Before& before) const {
    const bool was_inside = before.passages % 2 == 1;
    if (!before.state || !was_inside || passages_.load() != before.passages) return;
    watch_.attr("compare")(env, before.state);
  }

 private:
  // Odd: the caller is inside. seq_cst, since the generator's state is read between two looks at it.
  std::atomic<uint64_t> passages_{0};
  const py::object watch_;
};

}  // namespace envpool
