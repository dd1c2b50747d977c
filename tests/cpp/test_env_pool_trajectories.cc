// The same numbers from every number of workers and every batch size, also where envs fail.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "tests/cpp/check.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

// ---- trajectories ----

constexpr uint32_t kEnvs = 8;
constexpr uint32_t kSteps = 400;  // of each env, resets among them

using Trajectories = std::vector<std::vector<FakeRow>>;

int64_t action_of(int32_t env, size_t number) { return fake_mix(env + 1, static_cast<int64_t>(number)); }

void plan_trajectories(DrivenPool& driven, uint32_t spins) {
  for (uint32_t env = 0; env < kEnvs; ++env) {
    FakePlan& plan = driven.plan(env);
    plan.episode_length = static_cast<int32_t>(3 + env * 5);  // some are cut at max_episode_steps
    plan.most_spins = spins;
    plan.info = env == 3;
    plan.outcome = [env](Call call, uint64_t number) {
      return call == Call::kStep && number % 97 == 10 * env ? Outcome::kFailed : Outcome::kOk;
    };
    driven.slot(env).reseed = true;
    driven.slot(env).seed = 42 + env;
  }
}

// What each env must say, worked out without pool, queue or rows.
std::vector<FakeRow> foretell(int32_t env, int32_t max_episode_steps) {
  std::vector<FakeRow> rows;
  int64_t state = fake_mix(0, 42 + env), episode = 0;
  int32_t t = 0;
  uint64_t steps = 0;
  bool needs_reset = true, seeded = false;
  for (size_t number = 0; number < kSteps; ++number) {
    FakeRow row{};
    row.env_id = env;
    row.discount = 1;
    if (needs_reset) {
      if (seeded) state = fake_mix(state, -1);
      episode = seeded ? episode + 1 : 0;
      seeded = true;
      t = 0;
      row.step_type = kFirst;
    } else if (steps++ % 97 == static_cast<uint64_t>(10 * env)) {
      row.elapsed_step = t;
      row.truncated = row.done = row.trunc = true;
      row.step_type = kLast;
      rows.push_back(row);
      needs_reset = true;
      continue;
    } else {
      state = fake_mix(state, action_of(env, number));
      ++t;
      row.reward = fake_reward(state);
      row.terminated = t >= 3 + env * 5;
      row.truncated = t >= max_episode_steps;
      row.done = row.terminated || row.truncated;
      row.trunc = row.truncated && !row.terminated;
      row.discount = row.terminated ? 0 : 1;
      row.step_type = row.done ? kLast : kMid;
    }
    row.elapsed_step = t;
    row.obs = {env, episode, t, state};
    for (uint8_t& byte : row.odd) byte = static_cast<uint8_t>((env * 31 + t) % 251);
    needs_reset = row.done;
    rows.push_back(row);
  }
  return rows;
}

void check_trajectories(const Trajectories& got, int32_t max_episode_steps, const std::string& where) {
  for (int32_t env = 0; env < static_cast<int32_t>(kEnvs); ++env) {
    const auto expected = foretell(env, max_episode_steps);
    CHECK_EQ(got[env].size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      if (got[env][i] == expected[i]) continue;
      check::fail(__FILE__, __LINE__,
                  where + ", env " + std::to_string(env) + ", row " + std::to_string(i) + ": got\n  " +
                      check::show(got[env][i]) + ", expected\n  " + check::show(expected[i]));
    }
  }
}

void keep(const Received& batch, Trajectories* into) {
  bool failed = false, infos = false;
  for (const FakeRow& row : batch.rows) {
    (*into)[static_cast<size_t>(row.env_id)].push_back(row);
    const bool row_failed = row.done && row.obs == FakeObs{} && row.reward == 0;
    failed = failed || row_failed;
    infos = infos || (row.env_id == 3 && !row_failed);
  }
  CHECK_EQ(batch.failed, failed);  // and not what the block's last batch said
  CHECK_EQ(batch.infos, infos);
}

TEST(sync_trajectories_are_those_foretold_for_every_number_of_workers) {
  constexpr int32_t kLimit = 20;
  for (const uint32_t threads : {0U, 1U, 2U, 3U, 8U}) {
    DrivenPool driven(
        {.num_envs = kEnvs, .batch_size = kEnvs, .num_threads = threads, .max_episode_steps = kLimit});
    plan_trajectories(driven, threads == 0 ? 0 : 3000);
    Trajectories got(kEnvs);
    for (size_t number = 0; number < kSteps; ++number) {
      for (int32_t env = 0; env < static_cast<int32_t>(kEnvs); ++env) driven.act(env, action_of(env, number));
      // Sometimes in one send, sometimes in several, in another order each time.
      Ids ids = driven.all();
      std::rotate(ids.begin(), ids.begin() + static_cast<int>(number % kEnvs), ids.end());
      const auto cut = ids.begin() + static_cast<int>(number % 3 * 2);
      if (cut != ids.begin()) driven.send(Ids(ids.begin(), cut));
      driven.send(Ids(cut, ids.end()));
      while (driven.pool.num_pending_batches() > 0) keep(driven.recv(), &got);
    }
    check_trajectories(got, kLimit, "sync, threads " + std::to_string(threads));
    CHECK(threads == 0 || driven.pool.ring()->touched() <= 2);
  }
}

TEST(async_trajectories_are_those_foretold_for_every_number_of_workers_and_batch_size) {
  constexpr int32_t kLimit = 20;
  for (const uint32_t batch_size : {1U, 3U, 7U}) {
    for (const uint32_t threads : {0U, 1U, 2U, 3U, 8U}) {
      DrivenPool driven(
          {.num_envs = kEnvs, .batch_size = batch_size, .num_threads = threads, .max_episode_steps = kLimit});
      plan_trajectories(driven, threads == 0 ? 0 : 3000);
      Trajectories got(kEnvs);
      Ids ready = driven.all();
      while (true) {
        Ids ids;
        for (const int32_t env : ready) {
          const size_t number = got[static_cast<size_t>(env)].size();
          if (number == kSteps) continue;
          driven.act(env, action_of(env, number));
          ids.push_back(env);
        }
        if (!ids.empty()) driven.send(ids);
        if (driven.pool.num_in_flight() == 0) break;
        const uint32_t expected = std::min(batch_size, driven.pool.num_in_flight());
        const Received batch = driven.recv();
        CHECK_EQ(batch.rows.size(), expected);
        keep(batch, &got);
        ready = batch.ids();
      }
      check_trajectories(
          got, kLimit, "async, batch " + std::to_string(batch_size) + ", threads " + std::to_string(threads));
      CHECK_EQ(driven.pool.num_pending_batches(), 0);
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
    if (driven.pool.ring()->try_hold()) {
      held.emplace_back(block, batch.rows);
    } else {
      driven.pool.ring()->release(block, false);
    }
    driven.send(batch.ids());
  }
  CHECK_EQ(held.size(), 4);
  for (const auto& [block, rows] : held) {
    for (uint32_t row = 0; row < rows.size(); ++row) {
      CHECK_EQ(read_row(driven.pool.arena().row(block, row)), rows[row]);
    }
    driven.pool.ring()->release(block, true);
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
  CHECK_EQ(driven.slot(2).state.load(), SlotState::kDue);
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
