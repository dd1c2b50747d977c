// The counters of a pool as a dict: those of the workers, which lie in the arena, and the caller's own.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "cpp_core/env_pool.h"

namespace envpool {

namespace py = pybind11;

struct CallerCounts {
  uint64_t batches = 0;
  uint64_t rows = 0;
  uint64_t private_copies = 0;
  uint64_t inside_ticks = 0;  // the caller stepped or waited
  uint64_t waited_ticks = 0;  // it only waited
  TickRate rate;
};

// What any kind of pool counts as a whole. Times are in seconds.
template <typename Pool>
py::dict pool_counts(const Pool& pool, const CallerCounts& counts) {
  using namespace py::literals;
  const double second = counts.rate.seconds_per_tick();
  py::list idle;
  for (uint32_t queue = 0; queue < pool.arena().layout().num_queues; ++queue) {
    idle.append(static_cast<double>(pool.arena().idle(queue).ticks.load(std::memory_order_relaxed)) * second);
  }
  return py::dict("seconds_per_tick"_a = second, "worker_idle_seconds"_a = idle,
                  "caller_waited_seconds"_a = static_cast<double>(counts.waited_ticks) * second,
                  "caller_inside_seconds"_a = static_cast<double>(counts.inside_ticks) * second,
                  "batches"_a = counts.batches, "rows"_a = counts.rows, "in_flight"_a = pool.num_in_flight(),
                  "batches_held"_a = pool.ring()->held(), "batches_touched"_a = pool.ring()->touched(),
                  "batches_bound"_a = pool.ring()->size(), "private_copies"_a = counts.private_copies);
}

// And of each env. A histogram's bucket b counts steps of up to 2^b ticks.
inline py::dict stats_of(const EnvPool& pool, const CallerCounts& counts) {
  py::dict found = pool_counts(pool, counts);
  const double second = counts.rate.seconds_per_tick();
  py::list steps, episodes, histograms, step_seconds;
  for (uint32_t env = 0; env < pool.arena().layout().num_envs; ++env) {
    steps.append(pool.arena().slot(env).steps.load(std::memory_order_relaxed));
    episodes.append(pool.arena().slot(env).episodes.load(std::memory_order_relaxed));
    const StepTimes& times = pool.arena().step_times(env);
    py::list buckets;
    for (const auto& bucket : times.buckets) buckets.append(bucket.load(std::memory_order_relaxed));
    histograms.append(buckets);
    step_seconds.append(static_cast<double>(times.ticks.load(std::memory_order_relaxed)) * second);
  }
  found["steps"] = steps;
  found["episodes"] = episodes;
  found["step_seconds"] = step_seconds;
  found["histograms"] = histograms;
  return found;
}

}  // namespace envpool
