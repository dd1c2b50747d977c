// The end of a pool: what is due is dropped, running envs may finish, every env is closed, workers end.
//
// The caller's thread, once, with the GIL, which is released while waiting. It returns at its deadline at the
// latest, except when an env that the caller steps itself does not return.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/py_driver.h"
#include "cpp_core/py_process_workers.h"

namespace envpool {

class Closing {
 public:
  Closing(EnvPool* pool, ProcessWorkers* processes, Driver* driver, const Workers& workers)
      : pool_(*pool), processes_(*processes), driver_(*driver), workers_(workers) {}

  // False: an env did not return in time, and its thread was left behind.
  bool close(Deadline deadline) {
    processes_.look_for_dead();
    pool_.take_back_due();
    // Half of the time, so that one hung env leaves the others time to be closed.
    await_idle(Clock::now() + (deadline - Clock::now()) / 2);
    pool_.drop_everything();
    if (workers_.threads > 0) add_worker();
    bool closed = close_idle(deadline);
    if (closed && workers_.threads > 0) {  // a hung process is killed, but a thread must come back by itself
      await_idle(deadline);
      closed = close_idle(deadline);
    }
    const bool all = stop_threads(deadline) && closed;
    pool_.stop_processes();
    return all || workers_.threads == 0;
  }

 private:
  // The others may all be stuck. Where the system has no thread to spare, they must do.
  void add_worker() {
    try {
      pool_.add_worker();
    } catch (const std::system_error&) {
    }
  }

  void await_idle(Deadline patience) {
    const auto busy = [this](uint32_t env) { return pool_.is_busy(env); };
    const std::vector<uint32_t> envs = pool_.all_envs();
    while (Clock::now() < patience && std::any_of(envs.begin(), envs.end(), busy)) {
      {
        const py::gil_scoped_release release;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      processes_.look_for_dead();
    }
  }

  bool close_idle(Deadline deadline) {
    std::vector<uint32_t> envs = pool_.all_envs();
    std::erase_if(envs, [this](uint32_t env) { return pool_.is_busy(env) || !pool_.is_built(env); });
    pool_.start_errand(Request::kClose, envs);
    const auto done = [this] { return pool_.errand_done(); };
    Outcome outcome = Outcome::kOk;
    while (!done() && Clock::now() < deadline) {
      // Threads do it without the caller: it must be free to leave a hung one behind.
      if (workers_.threads == 0 && pool_.caller_works() && pool_.step_one(&outcome)) continue;
      if (workers_.threads + workers_.processes == 0) break;
      driver_.wait_a_while(done, deadline);
      processes_.look_for_dead();
    }
    return done();
  }

  bool stop_threads(Deadline deadline) {
    return without_gil([&] { return pool_.stop_workers(deadline); });
  }

  EnvPool& pool_;
  ProcessWorkers& processes_;
  Driver& driver_;
  const Workers workers_;
};

}  // namespace envpool
