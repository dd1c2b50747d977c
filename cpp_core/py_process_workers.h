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
  ProcessWorkers(EnvPool* pool, Post* post) : pool_(*pool), post_(*post), causes_(layout().num_queues) {}

  void set(py::object processes) { processes_ = std::move(processes); }

  // Buries those that died since the last look: what their envs were at fails with the error that says how.
  void look_for_dead() {
    if (!processes_) return;
    const auto died = py::cast<py::dict>(processes_.attr("died")());  // may be interrupted by a signal
    for (const auto& [queue, error] : died) {
      const auto which = py::cast<uint32_t>(queue);
      if (std::find(dead_queues_.begin(), dead_queues_.end(), which) != dead_queues_.end()) continue;
      causes_[which] = py::reinterpret_borrow<py::object>(error);
      dead_queues_.push_back(which);
      for (const uint32_t env : pool_.bury(which)) note_death(env);
    }
  }

  // Before a step of `envs`: the episodes of those that are lost end with it, for the reason that is noted.
  void note_losses(const std::vector<int32_t>& envs) {
    for (const int32_t env : envs) {
      if (pool_.is_lost(static_cast<uint32_t>(env))) note_death(static_cast<uint32_t>(env));
    }
  }

  // Starts the dead ones again that `request` needs for any of `envs`. All envs of theirs, to be built now.
  std::vector<uint32_t> restart(Request request, const std::vector<int32_t>& envs) {
    if (dead_queues_.empty()) return {};
    py::list queues;
    std::vector<uint32_t> unbuilt, still_dead;
    for (const uint32_t queue : dead_queues_) {
      const bool wanted = std::any_of(envs.begin(), envs.end(), [&](int32_t id) {
        const auto env = static_cast<uint32_t>(id);
        return layout().queue_of(env) == queue && !(request == Request::kStep && pool_.is_lost(env));
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
    return unbuilt;
  }

 private:
  const Layout& layout() const { return pool_.arena().layout(); }

  void note_death(uint32_t env) {
    const py::object& error = causes_[layout().queue_of(env)];
    const auto elapsed = pool_.arena().slot(env).elapsed_step;
    post_.note_death(env, py::make_tuple("worker", elapsed, py::none(), error, py::str(error)));
  }

  EnvPool& pool_;
  Post& post_;
  py::object processes_;
  std::vector<uint32_t> dead_queues_;
  std::vector<py::object> causes_;  // by queue: the last death
};

}  // namespace envpool
