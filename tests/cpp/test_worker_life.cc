#include <optional>
#include <thread>

#include "cpp_core/worker.h"
#include "cpp_core/worker_life.h"
#include "tests/cpp/check.h"
#include "tests/cpp/check_table.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

constexpr WorkerState kStates[] = {WorkerState::kAway, WorkerState::kServing, WorkerState::kWaiting,
                                   WorkerState::kStopped, WorkerState::kDead};
constexpr WorkerEvent kEvents[] = {WorkerEvent::kStart, WorkerEvent::kRunDry, WorkerEvent::kWake,
                                   WorkerEvent::kStop, WorkerEvent::kDie};

constexpr auto kNone = std::optional<WorkerState>();
constexpr auto kServing = std::optional(WorkerState::kServing);
constexpr auto kWaiting = std::optional(WorkerState::kWaiting);
constexpr auto kStopped = std::optional(WorkerState::kStopped);
constexpr auto kDead = std::optional(WorkerState::kDead);

// Where each (state, event) must lead, written down a second time; nothing: refused.
constexpr std::optional<WorkerState> kExpected[5][5] = {
    //             kStart     kRunDry   kWake     kStop     kDie
    /* kAway */ {kServing, kNone, kNone, kNone, kDead},
    /* kServing */ {kNone, kWaiting, kNone, kStopped, kDead},
    /* kWaiting */ {kNone, kNone, kServing, kNone, kDead},
    /* kStopped */ {kNone, kNone, kNone, kNone, kNone},
    /* kDead */ {kServing, kNone, kNone, kNone, kDead},
};

TEST(worker_table_allows_what_is_written_here_and_refuses_the_rest_unchanged) {
  check_table(kWorkerTransitions, kStates, kEvents, kExpected);
}

// Until the worker says so.
void await(const WorkerLife& life, WorkerState state) {
  CHECK(check::happens([&] { return life.state.load() == state; }));
}

TEST(worker_thread_serves_waits_and_stops) {
  const auto engine = fake_engine(2, 2, 2);
  FakeStepper& stepper = fake_of(*engine);
  Arena& arena = engine->arena;
  arena.head(0).rows_expected.store(1);
  WorkerLife life{};
  CHECK_EQ(life.state.load(), WorkerState::kAway);
  std::thread worker([&] { work(*engine, 0, 0, life); });
  await(life, WorkerState::kWaiting);
  stepper.gates[0].shut();
  const Order order{0, Request::kReset, /*block=*/0, /*row=*/0};
  arena.slot(0).move(SlotEvent::kSend);
  arena.queue(0).push(&order, 1);
  stepper.gates[0].await_arrivals(1);
  CHECK_EQ(life.state.load(), WorkerState::kServing);
  stepper.gates[0].open();
  await(life, WorkerState::kWaiting);
  arena.words().stop.store(true, std::memory_order_seq_cst);
  arena.queue(0).wake_all();
  worker.join();
  CHECK_EQ(life.state.load(), WorkerState::kStopped);
}

TEST(worker_process_that_is_buried_is_dead_until_its_successor_starts) {
  DrivenPool driven({.num_envs = 2, .batch_size = 2, .num_threads = 0, .num_processes = 2});
  const Arena& arena = driven.pool.arena();
  for (int round = 0; round < 2; ++round) {
    await(arena.life(1), WorkerState::kWaiting);
    driven.kill_and_bury(1);
    CHECK_EQ(arena.life(1).state.load(), WorkerState::kDead);
    await(arena.life(0), WorkerState::kWaiting);
    driven.start_process(1);
  }
  await(arena.life(1), WorkerState::kWaiting);
}

}  // namespace
}  // namespace envpool
