#include <atomic>
#include <memory>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "cpp_core/thread_workers.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"
#include "tests/cpp/leak_on_purpose.h"

#ifdef __linux__
#include <dlfcn.h>

// The system's pthread_create, which refuses after so many more threads.
static std::atomic<int> threads_to_come{-1};  // < 0: no limit

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  if (threads_to_come.load() == 0) return EAGAIN;
  if (threads_to_come.load() > 0) threads_to_come.fetch_sub(1);
  return create(thread, attributes, start, argument);
}
#endif

namespace envpool {
namespace {

Deadline patience() { return in_milliseconds(check::kPatienceMs); }

void push_steps(Engine& engine, uint32_t count) {
  engine.arena.head(0).rows_expected.store(count);
  for (uint32_t env = 0; env < count; ++env) {
    const Order order{env, Request::kStep, /*block=*/0, /*row=*/env};
    engine.arena.slot(env).move(SlotEvent::kSend);
    engine.arena.queue(0).push(&order, 1);
  }
}

TEST(thread_workers_none_started_are_stopped_at_once_however_often) {
  ThreadWorkers<Engine> workers;
  CHECK(workers.stop(Clock::now()));
  CHECK(workers.stop(Clock::now()));
  CHECK_EQ(workers.size(), 0);
}

TEST(thread_workers_all_end_and_let_go_of_the_engine) {
  auto engine = fake_engine(4, 4, 2);
  const std::weak_ptr<Engine> watched = engine;
  {
    ThreadWorkers<Engine> workers;
    workers.start(engine, 3, /*spin_ns=*/0, -1);
    CHECK_EQ(workers.size(), 3);
    CHECK(check::happens([&] { return fake_of(*engine).sessions.load() == 3; }));
    CHECK(workers.stop(patience()));
    CHECK_EQ(workers.size(), 0);
    CHECK_EQ(fake_of(*engine).sessions.load(), 0);
  }
  engine.reset();
  CHECK(watched.expired());
}

TEST(thread_workers_stop_does_not_miss_a_worker_on_its_way_to_sleep) {
  const auto engine = fake_engine(4, 4, 2);
  const Deadline deadline = patience();
  for (int round = 0; round < 80; ++round) {
    ThreadWorkers<Engine> workers;
    engine->arena.words().stop.store(false, std::memory_order_seq_cst);
    const int32_t count = 1 + round % 4;
    workers.start(engine, static_cast<uint32_t>(count), /*spin_ns=*/0, -1);
    // Half of the rounds stop workers that just started, the others some that mostly sleep.
    if (round % 8 < 4) {
      CHECK(check::happens([&] { return fake_of(*engine).sessions.load() == count; }));
      for (int i = 0; i < 10; ++i) std::this_thread::yield();
    }
    CHECK(workers.stop(deadline));
  }
  // Each that was missed would have slept for kIdleMs.
  CHECK(Clock::now() < deadline);
}

TEST(thread_workers_can_be_started_again) {
  const auto engine = fake_engine(4, 4, 2);
  ThreadWorkers<Engine> workers;
  for (uint32_t round = 0; round < 3; ++round) {
    engine->arena.words().stop.store(false, std::memory_order_seq_cst);
    engine->arena.head(0).rows_done.store(0);
    workers.start(engine, 2, /*spin_ns=*/0, -1);
    push_steps(*engine, 4);
    CHECK(check::happens([&] { return engine->arena.head(0).rows_done.load() == 4; }));
    CHECK(workers.stop(patience()));
  }
  CHECK_EQ(engine->arena.slot(3).steps.load(), 3);
}

TEST(thread_workers_stop_leaves_a_stuck_thread_behind_with_all_it_needs) {
  auto engine = fake_engine(4, 4, 2);
  const std::weak_ptr<Engine> watched = engine;
  FakeStepper& stepper = fake_of(*engine);  // the leaked engine keeps it
  Arena& arena = engine->arena;
  stepper.gates[1].shut();
  {
    ThreadWorkers<Engine> workers;
    workers.start(engine, 2, /*spin_ns=*/0, -1);
    push_steps(*engine, 4);
    stepper.gates[1].await_arrivals(1);
    const LeakOnPurpose leak;
    const Deadline deadline = in_milliseconds(20);
    CHECK(!workers.stop(deadline));
    CHECK(Clock::now() >= deadline);
    CHECK(workers.stop(Clock::now()));  // nothing left that it could wait for
  }
  engine.reset();
  CHECK(!watched.expired());
  stepper.gates[1].open();  // the thread comes back, finishes its env in memory that still is, and ends
  CHECK(check::happens([&] { return arena.slot(1).state() == SlotState::kIdle; }));
  CHECK(check::happens([&] { return stepper.sessions.load() == 0; }));
  CHECK_EQ(stepper.calls(1, Call::kStep), 1);
  CHECK(!watched.expired());
}

TEST(thread_worker_that_is_added_does_what_stuck_ones_cannot) {
  auto engine = fake_engine(4, 4, 2);
  FakeStepper& stepper = fake_of(*engine);
  stepper.gates[0].shut();
  ThreadWorkers<Engine> workers;
  workers.start(engine, 1, /*spin_ns=*/0, -1);
  push_steps(*engine, 4);
  stepper.gates[0].await_arrivals(1);
  CHECK_EQ(engine->arena.head(0).rows_done.load(), 0);
  workers.add(engine, /*spin_ns=*/0, -1);
  CHECK_EQ(workers.size(), 2);
  CHECK(check::happens([&] { return engine->arena.head(0).rows_done.load() == 3; }));
  stepper.gates[0].open();
  CHECK(workers.stop(patience()));
  CHECK_EQ(stepper.sessions.load(), 0);
  CHECK_EQ(stepper.calls(0, Call::kStep), 1);
}

#ifdef __linux__

TEST(thread_worker_that_cannot_be_added_leaves_the_others_at_work) {
  auto engine = fake_engine(4, 4, 2);
  ThreadWorkers<Engine> workers;
  workers.start(engine, 2, /*spin_ns=*/0, -1);
  threads_to_come.store(0);
  CHECK_THROWS(workers.add(engine, /*spin_ns=*/0, -1), std::system_error);
  threads_to_come.store(-1);
  CHECK_EQ(workers.size(), 2);
  push_steps(*engine, 4);
  CHECK(check::happens([&] { return engine->arena.head(0).rows_done.load() == 4; }));
  CHECK(workers.stop(patience()));
}

TEST(thread_workers_that_cannot_all_start_are_stopped_and_the_error_is_thrown) {
  for (const int allowed : {0, 1, 3}) {
    auto engine = fake_engine(4, 4, 2);
    const std::weak_ptr<Engine> watched = engine;
    ThreadWorkers<Engine> workers;
    threads_to_come.store(allowed);
    CHECK_THROWS(workers.start(engine, 4, /*spin_ns=*/0, -1), std::system_error);
    threads_to_come.store(-1);
    CHECK_EQ(workers.size(), 0);
    CHECK_EQ(fake_of(*engine).sessions.load(), 0);
    CHECK_EQ(watched.use_count(), 2);  // ours, and that of `workers`
  }
}

TEST(thread_workers_are_pinned_and_named_and_an_odd_core_number_does_no_harm) {
  const auto engine = fake_engine(2, 2, 2);
  cpu_set_t allowed;
  CHECK_EQ(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed)) cores.push_back(core);
  }
  for (const int32_t offset : {0, 1, 1'000'003}) {
    const int core = cores[static_cast<uint32_t>(offset) % cores.size()];
    engine->arena.words().stop.store(false, std::memory_order_seq_cst);
    engine->arena.head(0).rows_done.store(0);
    std::atomic<bool> pinned{false};
    std::atomic<bool> named{false};
    fake_of(*engine).plans[0].outcome = [&](Call, uint64_t) {
      // The thread may take its first env before start() has pinned it.
      const auto here = [&] {
        cpu_set_t now;
        CHECK_EQ(sched_getaffinity(0, sizeof(now), &now), 0);
        return CPU_COUNT(&now) == 1 && CPU_ISSET(core, &now);
      };
      pinned.store(check::happens(here));
      char name[16] = "";
      CHECK_EQ(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
      named.store(std::string(name) == "envpool-0");
      return Outcome::kOk;
    };
    ThreadWorkers<Engine> workers;
    workers.start(engine, 1, /*spin_ns=*/0, offset);
    push_steps(*engine, 1);
    CHECK(check::happens([&] { return engine->arena.head(0).rows_done.load() == 1; }));
    CHECK(pinned.load());
    CHECK(named.load());
    CHECK(workers.stop(patience()));
  }
}

#endif

}  // namespace
}  // namespace envpool
