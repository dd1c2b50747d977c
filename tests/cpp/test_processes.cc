// Worker processes over a shared arena: the same worker loop, the same numbers, and no lost wake-up.
#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/child.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"
#include "tests/cpp/trajectories.h"

namespace envpool {
namespace {

constexpr size_t kProcessSteps =
    110;  // each env has failed by then; on a busy machine a wake-up takes milliseconds
constexpr int64_t kShortSpinNs = 20'000;

DrivenOptions processes_options(uint32_t batch_size, uint32_t processes, bool caller_works, int64_t spin_ns) {
  return {.num_envs = kEnvs,
          .batch_size = batch_size,
          .num_threads = 0,
          .rules = {.max_episode_steps = kStepLimit},
          .num_processes = processes,
          .caller_works = caller_works,
          .spin_ns = spin_ns,
          .prepare = plan_trajectories(1000)};
}

std::string where(uint32_t processes, bool caller_works, int64_t spin_ns) {
  return "processes " + std::to_string(processes) + (caller_works ? " and the caller" : "") + ", spin " +
         std::to_string(spin_ns);
}

TEST(sync_trajectories_are_those_foretold_for_every_number_of_processes) {
  for (const uint32_t processes : {1U, 2U, 3U}) {
    for (const int64_t spin_ns : {int64_t{0}, kShortSpinNs}) {
      DrivenPool driven(processes_options(kEnvs, processes, false, spin_ns));
      check_sync_trajectories(driven, where(processes, false, spin_ns), kProcessSteps);
    }
  }
}

TEST(sync_trajectories_are_those_foretold_when_the_caller_works_beside_processes) {
  for (const uint32_t processes : {1U, 2U, 3U}) {
    for (const int64_t spin_ns : {int64_t{0}, kShortSpinNs}) {
      DrivenPool driven(processes_options(kEnvs, processes, true, spin_ns));
      check_sync_trajectories(driven, where(processes, true, spin_ns), kProcessSteps);
    }
  }
}

TEST(trajectories_are_those_foretold_when_episodes_begin_in_the_row_where_the_last_one_ends) {
  for (const uint32_t batch_size : {3U, kEnvs}) {
    DrivenOptions options = processes_options(batch_size, 2, batch_size == kEnvs, kShortSpinNs);
    options.rules.autoreset = Autoreset::kSameStep;
    DrivenPool driven(options);
    const char* where = "same step, 2 processes";
    batch_size == kEnvs ? check_sync_trajectories(driven, where, kProcessSteps)
                        : check_async_trajectories(driven, where, kProcessSteps);
  }
}

TEST(async_trajectories_are_those_foretold_for_every_number_of_processes_and_batch_size) {
  for (const uint32_t batch_size : {1U, 3U, 7U}) {
    for (const uint32_t processes : {1U, 2U, 3U}) {
      for (const bool caller_works : {false, true}) {
        const int64_t spin_ns = processes == 2 ? kShortSpinNs : 0;
        DrivenPool driven(processes_options(batch_size, processes, caller_works, spin_ns));
        check_async_trajectories(driven, where(processes, caller_works, spin_ns), kProcessSteps);
      }
    }
  }
}

TEST(processes_build_step_and_close_only_the_envs_of_their_queue) {
  DrivenPool driven({.num_envs = 5,
                     .batch_size = 5,
                     .num_threads = 0,
                     .num_processes = 2,
                     .caller_works = true,
                     .body = [](Engine& engine, uint32_t queue) {
                       work(engine, queue, 0, engine.arena.life(queue));
                       const Layout& layout = engine.arena.layout();
                       for (uint32_t env = 0; env < layout.num_envs; ++env) {
                         const bool mine = layout.queue_of(env) == queue;
                         for (const Call call :
                              {Call::kBuild, Call::kReset, Call::kStep, Call::kApply, Call::kClose}) {
                           CHECK_EQ(fake_of(engine).calls(env, call), mine ? 1 : 0);
                         }
                       }
                     }});
  for (int round = 0; round < 2; ++round) {
    driven.send(driven.all());
    driven.recv();
  }
  driven.run_errand(Request::kApply);
  driven.run_errand(Request::kClose);
  for (uint32_t env = 0; env < 5; ++env) {
    CHECK_EQ(driven.stepper().calls(env, Call::kStep), driven.pool.arena().layout().queue_of(env) == 0);
    CHECK(!driven.slot(env).built);
  }
}

TEST(slow_env_in_a_process_delays_only_the_envs_of_its_queue) {
  // Queues: {0, 1} the caller's, {2, 3}, {4, 5}. Env 2 stays inside its step until told.
  struct Word {
    std::atomic<bool> held{true};
  };
  const MemFile page("test", sizeof(Word));
  const Mapping mapping(sizeof(Word), page.fd());
  auto* word = new (mapping.data()) Word;
  DrivenPool driven({.num_envs = 6,
                     .batch_size = 2,
                     .num_threads = 0,
                     .num_processes = 2,
                     .caller_works = true,
                     .prepare = [word](FakeStepper& stepper) {
                       stepper.plans[2].outcome = [word](Call call, uint64_t) {
                         if (call == Call::kReset)
                           CHECK(check::happens([word] { return !word->held.load(); }));
                         return Outcome::kOk;
                       };
                     }});
  driven.send(driven.all());
  std::vector<uint32_t> rows(6, 0);
  // As many batches as it takes until each of the others came several times.
  CHECK(check::happens([&] {
    const Ids ids = driven.recv().ids();
    CHECK_EQ(ids.size(), 2);
    for (const int32_t env : ids) ++rows[static_cast<size_t>(env)];
    driven.send(ids);
    return std::min({rows[0], rows[1], rows[4], rows[5]}) >= 5;
  }));
  CHECK_EQ(rows[2] + rows[3], 0);
  word->held.store(false);
  while (driven.pool.num_in_flight() > 0) {
    for (const int32_t env : driven.recv().ids()) ++rows[static_cast<size_t>(env)];
  }
  CHECK_EQ(rows[2], 1);
  CHECK_EQ(rows[3], 1);
}

// ---- wake-ups ----

// For up to some hundred nanoseconds: so long takes the other side's way to its sleep.
void dawdle(uint32_t round) {
  for (std::atomic<uint32_t> turn{0}; turn.fetch_add(1, std::memory_order_relaxed) < round % 64;) {
  }
}

// Each side waits with a deadline far longer than the test: a wake-up that is lost is a sleep that nobody
// ends. (work() would wake by itself after kIdleMs, and hide it.)
void hand_over_and_back(uint32_t rounds, int64_t caller_spin_ns, int64_t worker_spin_ns) {
  Layout layout = fake_layout(2, 2, 1);
  layout.set_blocks(2);
  const MemFile file("test", layout.total_bytes);
  const Arena arena(layout, file.fd());
  const auto patience = [] { return in_milliseconds(check::kPatienceMs); };
  constexpr Order kOver{9, Request::kStep};
  Child child([&] {
    Arena mine(layout, file.fd());
    EnvQueue queue = mine.queue(0);
    for (uint32_t round = 0;; ++round) {
      Order order;
      const Deadline deadline = patience();
      while (!queue.try_pop(&order)) {
        queue.wait(mine.words().stop, worker_spin_ns, deadline);
        CHECK(Clock::now() < deadline);
      }
      if (order.env == kOver.env) return;
      CHECK_EQ(order.env, round % 2);
      dawdle(round / 7);
      mine.words().errands.failed.store(round + 1, std::memory_order_seq_cst);
      mine.words().caller.notify(1);
    }
  });
  Park& park = arena.words().caller;
  const Deadline enough = in_milliseconds(800);  // fewer rounds on a machine that is busy
  for (uint32_t round = 0; round < rounds && Clock::now() < enough; ++round) {
    const Order order{round % 2, Request::kStep};
    dawdle(round);
    arena.queue(0).push(&order, 1);
    const auto ready = [&] {
      return arena.words().errands.failed.load(std::memory_order_seq_cst) == round + 1;
    };
    if (spin_until(ready, caller_spin_ns)) continue;
    while (!ready()) {
      const uint32_t ticket = park.prepare();
      if (ready()) {
        park.cancel();
        break;
      }
      CHECK(park.sleep(ticket, patience()) != Wait::kTimedOut || ready());
    }
  }
  arena.queue(0).push(&kOver, 1);
  CHECK(child.ends_well());
}

constexpr int64_t kLongSpinNs = 200'000;

TEST(no_wake_up_between_processes_is_lost_when_both_sleep_at_once) { hand_over_and_back(4000, 0, 0); }
TEST(no_wake_up_between_processes_is_lost_when_both_spin_first) { hand_over_and_back(8000, 3000, 3000); }
TEST(no_wake_up_between_processes_is_lost_when_they_hardly_spin) { hand_over_and_back(4000, 1, 1); }
// One side is awake and answers at the very moment when the other lies down.
TEST(no_wake_up_of_a_process_on_its_way_to_sleep_is_lost) { hand_over_and_back(20'000, kLongSpinNs, 0); }
TEST(no_wake_up_of_a_caller_on_its_way_to_sleep_is_lost) { hand_over_and_back(20'000, 0, kLongSpinNs); }

TEST(process_asleep_when_it_is_told_to_stop_ends_and_does_not_sleep_on) {
  const Deadline deadline = in_milliseconds(check::kPatienceMs);
  // Each that missed it would sleep for kIdleMs.
  for (int round = 0; round < 20; ++round) {
    DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = 0, .num_processes = 3});
    driven.send(driven.all());
    driven.recv();
  }
  CHECK(Clock::now() < deadline);
}

}  // namespace
}  // namespace envpool
