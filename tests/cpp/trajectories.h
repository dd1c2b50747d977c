// The trajectories of eight envs, foretold without pool, queue or rows, and the driving of a pool through
// them. Some envs fail now and then, one has infos, one ends each episode at its limit.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/cpp/check.h"
#include "tests/cpp/driven_pool.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {

inline constexpr uint32_t kEnvs = 8;
inline constexpr uint32_t kSteps = 400;  // of each env, resets among them
inline constexpr int32_t kStepLimit = 20;

using Trajectories = std::vector<std::vector<FakeRow>>;

inline int64_t action_of(int32_t env, size_t number) {
  return fake_mix(env + 1, static_cast<int64_t>(number));
}

// For DrivenOptions::prepare.
inline auto plan_trajectories(uint32_t spins) {
  return [spins](FakeStepper& stepper) {
    for (uint32_t env = 0; env < kEnvs; ++env) {
      FakePlan& plan = stepper.plans[env];
      plan.episode_length = static_cast<int32_t>(3 + env * 5);  // some are cut at max_episode_steps
      plan.most_spins = spins;
      plan.info = env == 3;
      plan.outcome = [env](Call call, uint64_t number) {
        return call == Call::kStep && number % 97 == 10 * env ? Outcome::kFailed : Outcome::kOk;
      };
    }
  };
}

inline void seed_trajectories(DrivenPool& driven) {
  for (uint32_t env = 0; env < kEnvs; ++env) {
    driven.slot(env).reseed = true;
    driven.slot(env).seed = 42 + env;
  }
}

// What each env must say, worked out without pool, queue or rows.
inline std::vector<FakeRow> foretell(int32_t env, const EpisodeRules& rules, size_t count) {
  std::vector<FakeRow> rows;
  int64_t state = fake_mix(0, 42 + env), episode = 0;
  int32_t t = 0;
  uint64_t steps = 0;
  bool needs_reset = true, seeded = false;
  for (size_t number = 0; number < count; ++number) {
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
      row.truncated = t >= rules.max_episode_steps;
      row.done = row.terminated || row.truncated;
      row.trunc = row.truncated && !row.terminated;
      row.discount = row.terminated ? 0 : 1;
      row.step_type = row.done ? kLast : kMid;
    }
    row.elapsed_step = t;
    needs_reset = row.done;
    if (row.done && rules.autoreset == Autoreset::kSameStep) {
      row.final = {env, episode++, t, state};
      state = fake_mix(state, -1);
      t = 0;
      needs_reset = false;
    }
    row.obs = {env, episode, t, state};
    for (uint8_t& byte : row.odd) byte = static_cast<uint8_t>((env * 31 + t) % 251);
    rows.push_back(row);
  }
  return rows;
}

inline void check_trajectories(const Trajectories& got, const EpisodeRules& rules, size_t count,
                               const std::string& where) {
  for (int32_t env = 0; env < static_cast<int32_t>(kEnvs); ++env) {
    const auto expected = foretell(env, rules, count);
    CHECK_EQ(got[env].size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      if (got[env][i] == expected[i]) continue;
      check::fail(__FILE__, __LINE__,
                  where + ", env " + std::to_string(env) + ", row " + std::to_string(i) + ": got\n  " +
                      check::show(got[env][i]) + ", expected\n  " + check::show(expected[i]));
    }
  }
}

inline void keep(const Received& batch, Trajectories* into) {
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

// `driven` has kEnvs envs, plan_trajectories(), and autoreset of either kind.
inline void check_sync_trajectories(DrivenPool& driven, const std::string& where, size_t steps = kSteps) {
  seed_trajectories(driven);
  Trajectories got(kEnvs);
  for (size_t number = 0; number < steps; ++number) {
    for (int32_t env = 0; env < static_cast<int32_t>(kEnvs); ++env) driven.act(env, action_of(env, number));
    // Sometimes in one send, sometimes in several, in another order each time.
    Ids ids = driven.all();
    std::rotate(ids.begin(), ids.begin() + static_cast<int>(number % kEnvs), ids.end());
    const auto cut = ids.begin() + static_cast<int>(number % 3 * 2);
    if (cut != ids.begin()) driven.send(Ids(ids.begin(), cut));
    driven.send(Ids(cut, ids.end()));
    while (driven.pool.num_pending_batches() > 0) keep(driven.recv(), &got);
  }
  check_trajectories(got, driven.rules(), steps, "sync, " + where);
  CHECK(driven.pool.ring()->touched() <= 2);
}

inline void check_async_trajectories(DrivenPool& driven, const std::string& where, size_t steps = kSteps) {
  seed_trajectories(driven);
  const uint32_t batch_size = driven.pool.arena().layout().batch_size;
  Trajectories got(kEnvs);
  Ids ready = driven.all();
  while (true) {
    Ids ids;
    for (const int32_t env : ready) {
      const size_t number = got[static_cast<size_t>(env)].size();
      if (number == steps) continue;
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
  check_trajectories(got, driven.rules(), steps, "async, batch " + std::to_string(batch_size) + ", " + where);
  CHECK_EQ(driven.pool.num_pending_batches(), 0);
}

}  // namespace envpool
