// The same numbers from every number of workers and every batch size, also where envs fail.
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"
#include "tests/cpp/trajectories.h"

namespace envpool {
namespace {

// ---- trajectories ----

DrivenOptions threads_options(uint32_t batch_size, uint32_t threads, bool caller_works, int64_t spin_ns) {
  return {.num_envs = kEnvs,
          .batch_size = batch_size,
          .num_threads = threads,
          .rules = {.max_episode_steps = kStepLimit},
          .caller_works = caller_works,
          .spin_ns = spin_ns,
          .prepare = plan_trajectories(threads == 0 ? 0 : 3000)};
}

TEST(sync_trajectories_are_those_foretold_for_every_number_of_workers) {
  for (const uint32_t threads : {0U, 1U, 2U, 3U, 8U}) {
    DrivenPool driven(threads_options(kEnvs, threads, false, 0));
    check_sync_trajectories(driven, "threads " + std::to_string(threads));
  }
}

TEST(sync_trajectories_are_those_foretold_when_the_caller_works_beside_threads) {
  for (const uint32_t threads : {1U, 2U}) {
    for (const int64_t spin_ns : {0, 20'000}) {
      DrivenPool driven(threads_options(kEnvs, threads, true, spin_ns));
      check_sync_trajectories(driven, "a working caller, threads " + std::to_string(threads));
    }
  }
}

TEST(trajectories_are_those_foretold_when_episodes_begin_in_the_row_where_the_last_one_ends) {
  for (const uint32_t threads : {0U, 2U}) {
    for (const uint32_t batch_size : {3U, kEnvs}) {
      DrivenOptions options = threads_options(batch_size, threads, threads == 0, 0);
      options.rules.autoreset = Autoreset::kSameStep;
      DrivenPool driven(options);
      const std::string where = "same step, threads " + std::to_string(threads);
      batch_size == kEnvs ? check_sync_trajectories(driven, where) : check_async_trajectories(driven, where);
    }
  }
}

TEST(async_trajectories_are_those_foretold_for_every_number_of_workers_and_batch_size) {
  for (const uint32_t batch_size : {1U, 3U, 7U}) {
    for (const uint32_t threads : {0U, 1U, 2U, 3U, 8U}) {
      DrivenPool driven(threads_options(batch_size, threads, false, 0));
      check_async_trajectories(driven, "threads " + std::to_string(threads));
    }
  }
}

TEST(async_trajectories_are_those_foretold_when_the_caller_works_beside_threads) {
  for (const uint32_t batch_size : {1U, 3U, 7U}) {
    for (const int64_t spin_ns : {0, 20'000}) {
      DrivenPool driven(threads_options(batch_size, 2, true, spin_ns));
      check_async_trajectories(driven, "a working caller and 2 threads");
    }
  }
}

TEST(batch_held_by_the_user_is_not_overwritten_by_later_ones) {
  DrivenPool driven({.num_envs = 3, .batch_size = 2, .num_threads = 2, .spare_blocks = 4});
  std::vector<std::pair<uint32_t, std::vector<FakeRow>>> held;
  driven.send(driven.all());
  for (int round = 0; round < 300; ++round) {
    uint32_t block = 0;
    const Received batch = driven.recv(&block);
    if (driven.pool.ring()->try_hold(block)) {
      held.emplace_back(block, batch.rows);
    } else {
      driven.pool.ring()->release(block);
    }
    driven.send(batch.ids());
  }
  CHECK_EQ(held.size(), 4);
  for (const auto& [block, rows] : held) {
    for (uint32_t row = 0; row < rows.size(); ++row) {
      CHECK_EQ(read_row(driven.pool.arena().row(block, row)), rows[row]);
    }
    driven.pool.ring()->release(block);
  }
}

// ---- failures and interrupts ----

TEST(failing_env_spoils_its_own_row_and_nothing_else) {
  for (const uint32_t threads : {0U, 2U}) {
    DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = threads});
    driven.plan(1).outcome = [](Call call, uint64_t number) {
      return call == Call::kStep && number == 0 ? Outcome::kFailed : Outcome::kOk;
    };
    driven.send(driven.all());
    CHECK(!driven.recv().failed);
    driven.send(driven.all());
    const Received batch = driven.recv();
    CHECK(batch.failed);
    for (const FakeRow& row : batch.rows) CHECK_EQ(row.truncated, row.env_id == 1);
    CHECK_EQ(driven.pool.num_in_flight(), 0);
    driven.send(driven.all());
    const Received next = driven.recv();
    CHECK(!next.failed);
    for (const FakeRow& row : next.rows) {
      CHECK_EQ(row.step_type, static_cast<int32_t>(row.env_id == 1 ? kFirst : kMid));
      CHECK_EQ(row.elapsed_step, row.env_id == 1 ? 0 : 2);
    }
  }
}

TEST(interrupt_leaves_the_unstepped_envs_in_flight) {
  DrivenPool driven({.num_envs = 3, .batch_size = 3, .num_threads = 0});
  driven.send(driven.all());
  driven.recv();
  driven.plan(1).outcome = [](Call, uint64_t number) {
    return number == 0 ? Outcome::kInterrupted : Outcome::kOk;
  };
  driven.send(driven.all());
  driven.pool.begin_recv();
  Outcome outcome = Outcome::kOk;
  while (outcome != Outcome::kInterrupted) CHECK(driven.pool.step_one(&outcome));
  CHECK_EQ(driven.pool.num_in_flight(), 3);
  CHECK_EQ(driven.slot(2).state(), SlotState::kDue);
  const Received batch = driven.recv();
  CHECK_EQ(batch.ids(), driven.all());
  CHECK(!batch.failed);
  CHECK(batch.rows[1].truncated);
  CHECK_EQ(batch.rows[2].elapsed_step, 1);
  driven.send({1});
  CHECK_EQ(driven.recv().rows[0].step_type, static_cast<int32_t>(kFirst));
}

}  // namespace
}  // namespace envpool
