// A pool of fake envs, driven the way the binding drives one, with a deadline on every wait.
//
// Batches received are copied out and their block is released at once, unless the test keeps it. At its end
// the pool opens all gates and ends its workers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {

using Ids = std::vector<int32_t>;

struct Refusal {
  FaultKind kind;
  std::string message;
};

inline Refusal refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Fault& fault) {
    return {fault.kind, fault.what()};
  }
  check::fail(__FILE__, __LINE__, "nothing was refused");
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline Ids sorted(Ids ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

struct Received {
  std::vector<FakeRow> rows;
  bool failed;
  bool infos;

  Ids ids() const {
    Ids ids;
    for (const FakeRow& row : rows) ids.push_back(row.env_id);
    return ids;
  }
};

struct DrivenOptions {
  uint32_t num_envs;
  uint32_t batch_size;
  uint32_t num_threads;  // 0: inline
  int32_t max_episode_steps = std::numeric_limits<int32_t>::max();
  uint32_t spare_blocks = 2;  // beyond those for batches in flight
};

class DrivenPool {
 public:
  explicit DrivenPool(const DrivenOptions& options)
      : engine_(
            fake_engine(options.num_envs, options.batch_size,
                        EnvPool::most_in_flight(options.num_envs, options.batch_size) + options.spare_blocks,
                        options.max_episode_steps)),
        pool(engine_, {options.num_envs, options.batch_size, options.num_threads, -1}) {
    run_errand(Request::kBuild);
  }
  ~DrivenPool() {
    stepper().open_all_gates();
    CHECK(pool.stop_workers(in_milliseconds(check::kPatienceMs)));
  }

 private:
  std::shared_ptr<Engine> engine_;

 public:
  EnvPool pool;

  FakeStepper& stepper() { return fake_of(*engine_); }
  FakePlan& plan(uint32_t env) { return stepper().plans[env]; }
  Gate& gate(uint32_t env) { return stepper().gates[env]; }
  Slot& slot(uint32_t env) { return pool.arena().slot(env); }
  Ids all() const {
    Ids ids(pool.arena().layout().num_envs);
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
  }

  void run_errand(Request request) {
    pool.start_errand(request);
    drive([this] { return pool.errand_done(); });
  }

  void act(int32_t env, int64_t action) {
    *reinterpret_cast<int64_t*>(pool.arena().action(static_cast<uint32_t>(env))) = action;
  }

  void send(const Ids& ids, Request request = Request::kStep) {
    pool.check_idle(ids.data(), ids.size());
    pool.submit(request, ids.data(), static_cast<uint32_t>(ids.size()));
  }

  // `kept`: the block stays the caller's, to be released by it.
  Received recv(uint32_t* kept = nullptr) {
    pool.begin_recv();
    drive([this] { return pool.front_ready(); });
    const ReadyBatch batch = pool.take_front();
    Received received{{}, batch.failed, batch.infos};
    for (uint32_t row = 0; row < batch.rows; ++row) {
      received.rows.push_back(read_row(pool.arena().row(batch.block, row)));
    }
    if (kept != nullptr) {
      *kept = batch.block;
    } else {
      pool.ring()->release(batch.block, false);
    }
    return received;
  }

  // Until a worker has published what the env was sent for.
  void await_idle(uint32_t env) {
    CHECK(
        check::happens([&] { return slot(env).state.load(std::memory_order_relaxed) == SlotState::kIdle; }));
  }

 private:
  template <typename Ready>
  void drive(const Ready& ready) {
    while (!ready()) {
      if (pool.is_inline()) {
        Outcome outcome = Outcome::kOk;
        CHECK(pool.step_one(&outcome));
      } else {
        // A lost wake-up is a deadline that passed with the batch complete.
        CHECK(pool.wait(ready, in_milliseconds(check::kPatienceMs)) != Wait::kTimedOut);
      }
    }
  }
};

}  // namespace envpool
