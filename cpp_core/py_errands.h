// What envs do besides stepping: they are built, closed, built anew, and asked to run a function.
//
// The caller's thread only, with the GIL. An errand runs on the worker of each env, and the caller waits for
// all of them. One that was interrupted goes on without the caller: finish() waits for the rest of it, and
// must come before anything else is asked of idle envs.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/py_driver.h"
#include "cpp_core/py_leftovers.h"
#include "cpp_core/py_post.h"
#include "cpp_core/py_process_workers.h"
#include "cpp_core/seeds.h"

namespace envpool {

class Errands {
 public:
  Errands(EnvPool* pool, Post* post, Seeds* seeds, ProcessWorkers* processes, Driver* driver,
          Leftovers* leftovers)
      : pool_(*pool),
        post_(*post),
        seeds_(*seeds),
        processes_(*processes),
        driver_(*driver),
        leftovers_(*leftovers) {}

  // The failures, in the order of `envs`.
  py::list build(const std::vector<uint32_t>& envs) { return run(Request::kBuild, envs); }

  // Builds envs anew in place of those that failed. The failures, in the order of `ids`.
  py::list rebuild(const std::vector<int32_t>& ids) {
    std::vector<uint32_t> envs(ids.begin(), ids.end());
    std::erase_if(envs, [this](uint32_t env) { return !pool_.is_built(env); });
    run(Request::kClose, envs);
    revive(Request::kBuild, ids);  // a worker may have died while it closed them
    std::erase_if(envs, [this](uint32_t env) { return pool_.is_built(env); });
    for (const uint32_t env : envs) seeds_.give_again(env);
    return build(envs);
  }

  // Calls `function(env)` for each env: (results, failures), in the order of `ids`.
  py::tuple apply(const py::object& function, const std::vector<int32_t>& ids) {
    revive(Request::kApply, ids);
    post_.put(ids, std::vector<py::object>(ids.size(), function));
    py::list results;
    const py::list failures = run(Request::kApply, {ids.begin(), ids.end()}, &results);
    return py::make_tuple(results, failures);
  }

  // Starts the worker processes again that died and that `request` needs for any of `ids`, and builds their
  // envs; meanwhile another may die. Throws EnvError or WorkerDied when an env could not be built.
  void revive(Request request, const std::vector<int32_t>& ids) {
    for (;;) {
      const std::vector<uint32_t> unbuilt = processes_.restart(request, ids);
      if (unbuilt.empty()) return;
      for (const uint32_t env : unbuilt) seeds_.give_again(env);
      const py::list failures = build(unbuilt);
      if (!failures.empty()) py::module_::import("envpool_wrap.failures").attr("raise_failures")(failures);
    }
  }

  // The rest of an errand that was interrupted, or whose letters could not all be read: nobody asks for it.
  void finish() {
    if (unfinished_.empty()) return;
    driver_.drive([this] { return pool_.errand_done(); });
    for (const uint32_t env : unfinished_) post_.drop(env);
    unfinished_.clear();
  }

 private:
  // Runs an errand to its end. The failures; what functions returned goes to `results`.
  py::list run(Request request, const std::vector<uint32_t>& envs, py::list* results = nullptr) {
    unfinished_ = envs;
    pool_.start_errand(request, envs);
    driver_.drive([this] { return pool_.errand_done(); });
    py::list failures;
    if (pool_.errand_failed() || results != nullptr) {
      for (const uint32_t env : envs) {
        // It left nothing when it was built: what is there may belong to a row that was not received yet.
        if (request == Request::kBuild && pool_.is_built(env)) continue;
        const py::object letter = post_.take(env);
        const bool failed = leftovers_.add_failure(env, env, letter, &failures);
        if (letter && !failed && results != nullptr) results->append(py::list(letter)[0]);
      }
    }
    unfinished_.clear();
    return failures;
  }

  EnvPool& pool_;
  Post& post_;
  Seeds& seeds_;
  ProcessWorkers& processes_;
  Driver& driver_;
  Leftovers& leftovers_;
  std::vector<uint32_t>
      unfinished_;  // the envs of an errand that is not over, or whose letters are not taken
};

}  // namespace envpool
