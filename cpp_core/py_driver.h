// The caller's turn: it steps the envs that are its own, and waits for the others.
//
// The caller's thread only, with the GIL, which is released while waiting. Every wait looks at signals and
// for dead worker processes each kSliceMs at the latest, so Ctrl-C works, and a death is told.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "cpp_core/env_pool.h"
#include "cpp_core/py_process_workers.h"
#include "cpp_core/py_stats.h"
#include "cpp_core/py_stepper.h"

namespace envpool {

inline constexpr int64_t kSliceMs = 50;

inline Deadline after(double seconds) {
  constexpr double most = 1e8;  // a few years: Clock counts in nanoseconds
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(seconds, most)));
}

[[noreturn]] inline void rethrow(const py::object& exception) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw py::error_already_set();
}

class Driver {
 public:
  Driver(EnvPool* pool, ProcessWorkers* processes, const Workers& workers, CallerCounts* counts)
      : pool_(*pool), processes_(*processes), workers_(workers), counts_(*counts) {}

  // Until `ready`. Throws PoolTimeout, what a signal handler raises, or the interrupt of an env.
  template <typename Ready>
  void drive(const Ready& ready, std::optional<double> timeout = std::nullopt) {
    const Deadline deadline = after(timeout.value_or(std::numeric_limits<double>::infinity()));
    const Stopwatch inside(&counts_.inside_ticks);
    const auto inside_pool = stepper().set_caller();
    // Also when there is no need to wait: in an asynchronous pool the others may be quick enough for ever.
    if (Clock::now() >= next_look_) look_around();
    pool_.begin_steps();
    while (!ready()) {
      Outcome outcome = Outcome::kOk;
      if (pool_.caller_works() && pool_.step_one(&outcome)) {
        if (outcome == Outcome::kInterrupted) rethrow(stepper().take_interrupt());
      } else if (ready()) {
        break;
      } else if (workers_.threads + workers_.processes == 0) {
        raise("PoolError", "nothing is due, and yet the batch is not complete");
      } else {
        wait_a_while(ready, deadline);
        if (!ready()) look_around();
        pool_.begin_steps();
      }
      if (timeout && Clock::now() >= deadline && !ready()) throw_timeout(*timeout);
    }
  }

  // One slice at most.
  template <typename Ready>
  void wait_a_while(const Ready& ready, Deadline deadline) {
    const Stopwatch waiting(&counts_.waited_ticks);
    const Deadline until = std::min(deadline, in_milliseconds(kSliceMs));
    without_gil([&] { return pool_.wait(ready, until); });
  }

 private:
  PyStepper& stepper() const { return static_cast<PyStepper&>(pool_.stepper()); }

  // Between two slices of waiting: signals, and worker processes that died.
  void look_around() {
    next_look_ = in_milliseconds(kSliceMs);
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    processes_.look_for_dead();
  }

  [[noreturn]] void throw_timeout(double timeout) const {
    std::string running;
    uint32_t waiting = 0;
    const auto now = Clock::now().time_since_epoch().count();
    for (uint32_t env = 0; env < pool_.arena().layout().num_envs; ++env) {
      const Slot& slot = pool_.arena().slot(env);
      const SlotState state = slot.state();
      waiting += state == SlotState::kDue ? 1 : 0;
      if (state != SlotState::kRunning) continue;
      const double seconds =
          static_cast<double>(now - slot.started_ns.load(std::memory_order_relaxed)) * 1e-9;
      running += (running.empty() ? "" : ", ") + std::string("env ") + std::to_string(env) + " for " +
                 py::cast<std::string>(py::str("{:.1f} s").format(seconds));
    }
    raise("PoolTimeout", "no batch within " + py::cast<std::string>(py::str("{:g} s").format(timeout)) +
                             "; still running: " + (running.empty() ? "none" : running) +
                             "; waiting for a worker: " + std::to_string(waiting) +
                             ". Nothing is lost: recv() again.");
  }

  EnvPool& pool_;
  ProcessWorkers& processes_;
  const Workers workers_;
  CallerCounts& counts_;
  Deadline next_look_{};
};

}  // namespace envpool
