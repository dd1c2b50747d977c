// The worker processes of one pool: missed when they die, buried, started again.
//
// Python starts and ends them (`envpool_wrap.processes.Processes`, or something with its start() and died());
// here is what a death means to the pool. The caller's thread only, with the GIL. restart() waits for
// children to start, which has a deadline of its own; nothing else waits.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/py_post.h"

namespace envpool {

class ProcessWorkers {
 public:
  ProcessWorkers(EnvPool* pool, Post* post) : pool_(*pool), post_(*post) {}

  void set(py::object processes) { processes_ = std::move(processes); }

  // Buries those that died since the last look: their envs in flight fail with the error that says how.
  void look_for_dead() {
    if (!processes_) return;
    const auto died = py::cast<py::dict>(processes_.attr("died")());
    for (const auto& [queue, error] : died) {
      bury(py::cast<uint32_t>(queue), py::reinterpret_borrow<py::object>(error));
    }
  }

  // Starts the dead ones again that serve any of `envs`. All envs of theirs, which are to be built now.
  std::vector<uint32_t> restart(const std::vector<int32_t>& envs) {
    if (dead_queues_.empty()) return {};
    py::list queues;
    std::vector<uint32_t> unbuilt, still_dead;
    for (const uint32_t queue : dead_queues_) {
      const bool wanted = std::any_of(envs.begin(), envs.end(), [&](int32_t env) {
        return layout().queue_of(static_cast<uint32_t>(env)) == queue;
      });
      if (!wanted) {
        still_dead.push_back(queue);
        continue;
      }
      queues.append(queue);
      for (uint32_t env = layout().first_env(queue); env < layout().first_env(queue + 1); ++env) {
        unbuilt.push_back(env);
      }
    }
    if (unbuilt.empty()) return {};
    processes_.attr("start")(queues);
    dead_queues_ = still_dead;
    for (const uint32_t env : unbuilt) post_.note_death(env, py::object());
    return unbuilt;
  }

 private:
  const Layout& layout() const { return pool_.arena().layout(); }

  void bury(uint32_t queue, const py::object& error) {
    for (uint32_t env = layout().first_env(queue); env < layout().first_env(queue + 1); ++env) {
      const auto elapsed = pool_.arena().slot(env).elapsed_step;
      post_.note_death(env, py::make_tuple("worker", elapsed, py::none(), error, py::str(error)));
    }
    dead_queues_.push_back(queue);
    pool_.bury(queue);
  }

  EnvPool& pool_;
  Post& post_;
  py::object processes_;
  std::vector<uint32_t> dead_queues_;
};

}  // namespace envpool
