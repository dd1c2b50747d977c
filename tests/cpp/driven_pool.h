// A pool of fake envs, driven the way the binding drives one, with a deadline on every wait.
//
// Batches received are copied out and their block is released at once, unless the test keeps it. At its end
// the pool opens all gates and ends its workers, who must end well.
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
#include "cpp_core/mem_file.h"
#include "tests/cpp/check.h"
#include "tests/cpp/child.h"
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

using ChildBody = std::function<void(Engine&, uint32_t queue)>;

struct DrivenOptions {
  uint32_t num_envs;
  uint32_t batch_size;
  uint32_t num_threads;  // with no process either: inline
  EpisodeRules rules = {};
  uint32_t spare_blocks = 2;  // beyond those for batches in flight
  uint32_t num_processes = 0;
  bool caller_works = false;  // as well; in an inline pool it always does
  int64_t spin_ns = 0;
  std::function<void(FakeStepper&)> prepare = {};  // what worker processes are to see: they are forks
  ChildBody body = {};                             // what they run; empty: work()
};

class DrivenPool {
 public:
  explicit DrivenPool(const DrivenOptions& options)
      : options_(options),
        engine_(make_engine()),
        pool(engine_, {options.num_envs, options.batch_size, options.num_threads, caller_works(),
                       options.spin_ns, -1}) {
    children_.resize(pool.arena().layout().num_queues);
    for (uint32_t queue = first_process_queue(); queue < children_.size(); ++queue) start_process(queue);
    run_errand(Request::kBuild);
  }
  ~DrivenPool() {
    stepper().open_all_gates();
    CHECK(pool.stop_workers(in_milliseconds(check::kPatienceMs)));
    pool.stop_processes();
    for (auto& child : children_) CHECK(!child || child->ends_well());
  }

 private:
  const DrivenOptions options_;
  std::unique_ptr<MemFile> file_;
  std::shared_ptr<Engine> engine_;
  std::vector<std::unique_ptr<Child>> children_;  // by queue

 public:
  EnvPool pool;

  const EpisodeRules& rules() const { return options_.rules; }
  FakeStepper& stepper() { return fake_of(*engine_); }
  FakePlan& plan(uint32_t env) { return stepper().plans[env]; }
  Gate& gate(uint32_t env) { return stepper().gates[env]; }
  Slot& slot(uint32_t env) { return pool.arena().slot(env); }
  Ids all() const {
    Ids ids(pool.arena().layout().num_envs);
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
  }

  // To all envs that are not in flight.
  void run_errand(Request request) {
    std::vector<uint32_t> envs;
    for (const uint32_t env : pool.all_envs()) {
      if (!pool.in_flight(env)) envs.push_back(env);
    }
    run_errand(request, envs);
  }
  void run_errand(Request request, const std::vector<uint32_t>& envs) {
    pool.start_errand(request, envs);
    finish_errand();
  }
  void finish_errand() {
    drive([this] { return pool.errand_done(); });
  }

  uint32_t first_process_queue() const {
    return options_.num_processes == 0 ? static_cast<uint32_t>(children_.size())
           : options_.caller_works     ? 1
                                       : 0;
  }
  std::vector<uint32_t> envs_of(uint32_t queue) const {
    const Layout& layout = pool.arena().layout();
    std::vector<uint32_t> envs(layout.first_env(queue + 1) - layout.first_env(queue));
    std::iota(envs.begin(), envs.end(), layout.first_env(queue));
    return envs;
  }
  // The child maps the file for itself, at another address.
  void start_process(uint32_t queue) {
    children_[queue] = std::make_unique<Child>([&] {
      const Arena arena(pool.arena().layout(), file_->fd());
      Engine engine{arena, std::move(engine_->stepper), options_.rules, /*timed=*/false};
      options_.body ? options_.body(engine, queue) : work(engine, queue, options_.spin_ns, arena.life(queue));
    });
  }
  Child& child(uint32_t queue) { return *children_[queue]; }
  // Ends a worker process at once, as the system may, and tells the pool.
  void kill_and_bury(uint32_t queue) {
    children_[queue].reset();
    pool.bury(queue);
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
      pool.ring()->release(batch.block);
    }
    return received;
  }

  // Until a worker has published what the env was sent for.
  void await_idle(uint32_t env) {
    CHECK(check::happens([&] { return slot(env).state() == SlotState::kIdle; }));
  }

 private:
  bool caller_works() const {
    return options_.caller_works || options_.num_threads + options_.num_processes == 0;
  }

  std::shared_ptr<Engine> make_engine() {
    const uint32_t processes = options_.num_processes;
    Layout layout = fake_layout(options_.num_envs, options_.batch_size,
                                processes == 0 ? 1 : processes + (options_.caller_works ? 1 : 0),
                                options_.rules.autoreset == Autoreset::kSameStep);
    layout.set_blocks(Flight::most_batches(options_.num_envs, options_.batch_size) + options_.spare_blocks);
    if (processes > 0) file_ = std::make_unique<MemFile>("test-arena", layout.total_bytes);
    const Arena arena = file_ ? Arena(std::move(layout), file_->fd()) : Arena(std::move(layout));
    auto engine = fake_engine(arena, options_.rules);
    if (options_.prepare) options_.prepare(fake_of(*engine));
    return engine;
  }

  template <typename Ready>
  void drive(const Ready& ready) {
    pool.begin_steps();
    while (!ready()) {
      Outcome outcome = Outcome::kOk;
      if (pool.caller_works() && pool.step_one(&outcome)) continue;
      CHECK(options_.num_threads + options_.num_processes > 0);
      // A lost wake-up is a deadline that passed with the batch complete.
      CHECK(pool.wait(ready, in_milliseconds(check::kPatienceMs)) != Wait::kTimedOut);
      pool.begin_steps();
    }
  }
};

}  // namespace envpool
