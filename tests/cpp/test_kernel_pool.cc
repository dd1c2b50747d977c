// Rows, runs and order of pools whose envs are stepped by a kernel; and against many threads at once.
#include <map>
#include <string>
#include <vector>

#include "tests/cpp/check.h"
#include "tests/cpp/fake_kernel.h"
#include "tests/cpp/leak_on_purpose.h"

namespace envpool {
namespace {

using Ids = std::vector<int32_t>;

Ids ids_of(const std::vector<KernelRow>& rows) {
  Ids ids;
  for (const KernelRow& row : rows) ids.push_back(row.env_id);
  return ids;
}

template <typename Call>
std::string fault_of(const Call& call) {
  try {
    call();
  } catch (const Fault& fault) {
    return fault.what();
  }
  return "";
}

template <typename Condition>
void await(const Condition& condition) {
  const Deadline deadline = in_milliseconds(check::kPatienceMs);
  while (!condition()) {
    CHECK(Clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// What an env does, played again by hand.
class Foretold {
 public:
  explicit Foretold(const DrivenKernelPool::Settings& settings) : settings_(settings) {}

  void check(const KernelRow& row, int64_t action, bool asked = false) {
    Env& env = envs_[row.env_id];
    const bool next_step = settings_.autoreset == Autoreset::kNextStep;
    const bool is_reset = asked || env.resets == 0 || (env.over && next_step);
    if (is_reset) {
      env = {env.resets + 1, 0, false};
    } else {
      ++env.t;
    }
    const bool terminated = !is_reset && env.t >= kLength + row.env_id % 3;
    const bool truncated = !is_reset && env.t >= settings_.max_episode_steps;
    env.over = terminated || truncated;
    CHECK_EQ(row.terminated, terminated);
    CHECK_EQ(row.truncated, truncated);
    CHECK_EQ(row.done, env.over);
    CHECK_EQ(row.trunc, truncated && !terminated);
    CHECK_EQ(row.discount, terminated ? 0.0F : 1.0F);
    CHECK_EQ(row.step_type, static_cast<int32_t>(env.over ? kLast : is_reset ? kFirst : kMid));
    CHECK_EQ(row.elapsed_step, env.t);
    CHECK_EQ(row.reward, is_reset ? 0.0F : static_cast<float>(action));
    CHECK_EQ(row.obs.seed, row.env_id);
    if (env.over && settings_.autoreset == Autoreset::kSameStep) {
      CHECK_EQ(row.final_obs.t, env.t);
      CHECK_EQ(row.final_obs.resets, env.resets);
      env = {env.resets + 1, 0, false};
      CHECK_EQ(row.info, 0);
    } else {
      CHECK_EQ(row.info, is_reset ? 0 : action);
    }
    CHECK_EQ(row.obs.t, env.t);
    CHECK_EQ(row.obs.resets, env.resets);
  }

 private:
  struct Env {
    int64_t resets = 0, t = 0;
    bool over = false;
  };
  DrivenKernelPool::Settings settings_;
  std::map<int32_t, Env> envs_;
};

constexpr Autoreset kModes[] = {Autoreset::kNextStep, Autoreset::kSameStep};

TEST(sync_trajectories_are_the_same_with_any_number_of_threads) {
  for (const uint32_t threads : {0U, 1U, 3U}) {
    for (const bool caller : {true, false}) {
      if (threads == 0 && !caller) continue;
      for (const Autoreset mode : kModes) {
        const DrivenKernelPool::Settings settings{.num_envs = 700,
                                                  .num_threads = threads,
                                                  .caller_works = caller,
                                                  .autoreset = mode,
                                                  .max_episode_steps = 4};
        DrivenKernelPool driven(settings);
        Foretold foretold(settings);
        for (const KernelRow& row : driven.reset()) foretold.check(row, 0, /*asked=*/true);
        for (int64_t action = 1; action < 60; ++action) {
          constexpr uint32_t kRowNs[] = {20, 2'000,
                                         9'000};  // one run, many, and several for the caller alone
          driven.pool.engine().row_ns.store(kRowNs[action % 3]);
          const auto rows = driven.step(action);
          for (int32_t env = 0; env < 700; ++env) CHECK_EQ(rows[static_cast<size_t>(env)].env_id, env);
          for (const KernelRow& row : rows) foretold.check(row, action);
        }
      }
    }
  }
}

TEST(sync_batches_come_in_the_order_of_sends_and_rows_in_the_order_of_the_request) {
  for (const uint32_t threads : {0U, 2U}) {
    const DrivenKernelPool::Settings settings{.num_envs = 6, .num_threads = threads};
    DrivenKernelPool driven(settings);
    Foretold foretold(settings);
    for (int64_t action = 0; action < 200; ++action) {
      const std::vector<Ids> sends = {{5, 0, 3}, {2}, {4, 1}};
      for (const Ids& ids : sends) driven.send(Request::kStep, ids, action);
      CHECK_EQ(driven.pool.num_in_flight(), 6);
      CHECK_EQ(driven.pool.num_pending_batches(), 3);
      for (const Ids& ids : sends) {
        const auto rows = driven.recv();
        CHECK_EQ(ids_of(rows), ids);
        for (const KernelRow& row : rows) foretold.check(row, action);
      }
      const auto all = driven.step(action);
      CHECK_EQ(ids_of(all), (Ids{0, 1, 2, 3, 4, 5}));  // their links are whole again
      for (const KernelRow& row : all) foretold.check(row, action);
    }
  }
}

TEST(async_trajectories_are_the_same_and_no_env_starves) {
  struct Size {
    uint32_t num_envs, batch_size;
  };
  for (const auto [num_envs, batch_size] : {Size{37, 8}, Size{300, 200}}) {
    for (const uint32_t threads : {1U, 3U}) {
      for (const Autoreset mode : kModes) {
        const uint32_t rounds = 16'000 / batch_size;
        const DrivenKernelPool::Settings settings{.num_envs = num_envs,
                                                  .batch_size = batch_size,
                                                  .num_threads = threads,
                                                  .caller_works = false,
                                                  .autoreset = mode};
        DrivenKernelPool driven(settings);
        Foretold foretold(settings);
        std::map<int32_t, int64_t> seen, sent;
        driven.send(Request::kReset, {});
        for (uint32_t round = 0; round < rounds; ++round) {
          const auto rows = driven.recv();
          CHECK_EQ(rows.size(), batch_size);
          std::vector<int64_t> actions;
          for (const KernelRow& row : rows) {
            foretold.check(row, sent[row.env_id], seen[row.env_id] == 0);
            actions.push_back(sent[row.env_id] = ++seen[row.env_id]);
          }
          driven.send(Request::kStep, ids_of(rows), actions);
        }
        for (const auto& [env, times] : seen) CHECK(times > rounds * batch_size / num_envs / 4);
        CHECK_EQ(seen.size(), num_envs);
        // The last ones: fewer in flight than a batch has rows.
        for (size_t left = num_envs; left > 0;) {
          const auto rows = driven.recv();
          CHECK_EQ(rows.size(), std::min<size_t>(left, batch_size));
          for (const KernelRow& row : rows) foretold.check(row, sent[row.env_id], seen[row.env_id] == 0);
          left -= rows.size();
        }
        CHECK_EQ(driven.pool.num_in_flight(), 0);
        driven.send(Request::kStep, {3, 1}, 7);
        CHECK_EQ(driven.recv().size(), 2);
      }
    }
  }
}

TEST(async_slow_env_holds_up_only_its_own_run) {
  DrivenKernelPool driven({.num_envs = 16, .batch_size = 4, .num_threads = 2, .caller_works = false});
  driven.send(Request::kReset, {});
  for (int i = 0; i < 4; ++i) driven.recv();
  hang = true;
  driven.send(Request::kStep, {0}, kHang);
  driven.send(Request::kStep, {1, 2, 3, 4, 5, 6, 7, 8}, 1);
  for (int i = 0; i < 2; ++i) {
    for (const KernelRow& row : driven.recv()) CHECK(row.env_id != 0);
  }
  hang = false;
  CHECK_EQ(ids_of(driven.recv()), Ids{0});
}

TEST(slow_envs_of_one_send_keep_every_worker_at_work) {
  for (const uint32_t batch : {0U, 8U}) {
    DrivenKernelPool driven({.num_envs = 16, .batch_size = batch, .num_threads = 6, .caller_works = false});
    driven.send(Request::kReset, {});
    for (uint32_t rows = 0; rows < 16;) rows += static_cast<uint32_t>(driven.recv().size());
    hang = true;
    driven.pool.engine().row_ns.store(100'000);
    driven.send(Request::kStep, {0, 2, 4, 6, 8, 10, 12, 14}, kHang);
    await([] { return hanging.load() == 6; });
    hang = false;
    CHECK_EQ(driven.recv().size(), 8);
  }
}

TEST(failed_rows_are_zero_and_truncated_and_the_next_step_is_a_reset) {
  for (const uint32_t batch : {0U, 3U}) {
    DrivenKernelPool driven({.num_envs = 5,
                             .batch_size = batch,
                             .num_threads = batch == 0 ? 0U : 1U,
                             .caller_works = batch == 0,
                             .autoreset = Autoreset::kSameStep});
    driven.reset({1, 2, 4});
    driven.step(5, {1, 2, 4});
    driven.send(Request::kStep, {4, 1, 2}, std::vector<int64_t>{6, kRaise, kRaise});
    const auto rows = driven.recv();
    CHECK_EQ(driven.failures.size(), 2);
    for (size_t i = 0; i < 2; ++i) {
      const KernelFailure& failure = driven.failures[i];
      const KernelRow& row = rows[failure.row];
      CHECK_EQ(static_cast<int32_t>(failure.env), row.env_id);
      CHECK_EQ(failure.hook, kFakeHook);
      CHECK_EQ(failure.elapsed_step, 1);
      CHECK_EQ(failure.raised.values[0], reinterpret_cast<int64_t>(&driven.records[failure.env]));
      CHECK(row.truncated && row.done && row.trunc && !row.terminated);
      CHECK_EQ(row.reward, 0.0F);
      CHECK_EQ(row.obs.seed + row.obs.t + row.obs.resets + row.info + row.final_obs.resets, 0);
      CHECK_EQ(row.step_type, static_cast<int32_t>(kLast));
      CHECK_EQ(row.elapsed_step, 1);
    }
    for (const KernelRow& row : driven.step(8, {1, 2, 4})) {
      const bool begins = row.env_id != 4;
      CHECK_EQ(row.elapsed_step, begins ? 0 : 3);
      CHECK_EQ(row.obs.resets, begins ? 2 : 1);
    }
    CHECK_EQ(driven.failures.size(), 0);
  }
}

TEST(failed_rows_of_a_run_belong_to_the_batches_that_it_fell_into) {
  DrivenKernelPool driven({.num_envs = 6, .batch_size = 3, .num_threads = 1, .caller_works = false});
  for (const Request request : {Request::kReset, Request::kStep}) {
    driven.send(request, {0, 1, 2, 3, 4, 5}, kRaise);  // in runs of two
    for (int batch = 0; batch < 2; ++batch) {
      const auto rows = driven.recv();
      CHECK_EQ(driven.failures.size(), request == Request::kStep ? 3 : 0);
      for (uint32_t row = 0; row < driven.failures.size(); ++row) {
        CHECK_EQ(driven.failures[row].row, row);
        CHECK_EQ(static_cast<int32_t>(driven.failures[row].env), rows[row].env_id);
      }
    }
  }
}

TEST(failures_come_in_the_order_of_their_rows) {
  DrivenKernelPool driven({.num_envs = 4, .num_threads = 2, .caller_works = false});
  driven.reset();
  driven.pool.engine().row_ns.store(100'000);  // a run for each env, two for each thread
  hang = true;
  driven.send(Request::kStep, {}, std::vector<int64_t>{kHang, kRaise, kRaise, 1});
  await([&] { return driven.pool.engine().envs.elapsed[3].load() == 1; });
  hang = false;
  driven.recv();
  CHECK_EQ(driven.failures.size(), 2);
  CHECK_EQ(driven.failures[0].row, 1);
  CHECK_EQ(driven.failures[1].row, 2);
}

TEST(a_seed_that_is_refused_fails_the_reset_and_is_given_again) {
  DrivenKernelPool driven({.num_envs = 1});
  driven.pool.engine().envs.seeds[0] = kRaise;
  CHECK(driven.reset().front().truncated);
  CHECK_EQ(driven.failures.front().hook, kFakeSeedHook);
  CHECK_EQ(driven.records[0].resets, 0);
  driven.pool.engine().envs.seeds[0] = 7;
  CHECK_EQ(driven.step(1).front().obs.seed, 7);
}

// As of episode.h, whose test this is, too.
TEST(an_end_that_cannot_be_followed_by_a_reset_fails_once_with_the_steps_of_its_episode) {
  DrivenKernelPool driven({.num_envs = 1, .autoreset = Autoreset::kSameStep});
  driven.reset();
  for (int64_t t = 1; t < kLength; ++t) driven.step(t);
  driven.records[0].resets = kRaise;
  const KernelRow row = driven.step(1).front();
  CHECK_EQ(row.elapsed_step, kLength);
  CHECK_EQ(driven.failures.front().elapsed_step, kLength);
  CHECK_EQ(driven.failures.front().hook, kFakeResetHook);
  CHECK(row.truncated && !row.terminated);
  CHECK_EQ(row.final_obs.t, 0);
  CHECK_EQ(driven.pool.engine().envs.episodes[0].load(), 1);
  CHECK_EQ(driven.pool.engine().envs.steps(0), kLength);
  driven.records[0].resets = 0;
  CHECK_EQ(driven.step(1).front().elapsed_step, 0);
  CHECK_EQ(driven.pool.engine().envs.steps(0), kLength);
}

TEST(an_env_that_is_restored_goes_on_from_there_and_has_made_no_steps) {
  KernelEnvs envs(1);
  envs.flags[0] |= KernelEnvs::kReseed;
  for (const bool over : {true, false}) {
    envs.restore(0, 5, over);
    CHECK_EQ(envs.elapsed[0].load(), 5);
    CHECK_EQ(envs.steps(0), 0);
    CHECK_EQ(envs.flags[0], over ? KernelEnvs::kNeedsReset : 0);
  }
}

TEST(disabled_refuses_envs_without_an_episode) {
  DrivenKernelPool driven({.num_envs = 3, .autoreset = Autoreset::kDisabled});
  CHECK(fault_of([&] { driven.step(1); }).starts_with("env_id 0, 1, 2: no episode"));
  driven.reset();
  for (int i = 0; i < 3; ++i) driven.step(1);
  CHECK(fault_of([&] { driven.step(1); }).starts_with("env_id 0: no episode"));
  CHECK_EQ(driven.step(1, {2, 1}).size(), 2);
  CHECK_EQ(driven.reset({0}).front().obs.resets, 2);
}

TEST(ids_are_checked_before_anything_is_sent) {
  DrivenKernelPool driven({.num_envs = 4});
  CHECK(fault_of([&] { driven.step(1, {0, 4}); }).find("out of range") != std::string::npos);
  CHECK(fault_of([&] { driven.step(1, {2, 2}); }).find("there twice") != std::string::npos);
  driven.send(Request::kStep, {1});
  CHECK(fault_of([&] { driven.step(1, {1}); }).find("env 1 is still in flight") != std::string::npos);
  CHECK(fault_of([&] { driven.step(1); }).find("env 1 is still in flight") != std::string::npos);
  CHECK_EQ(driven.recv().size(), 1);
  CHECK(fault_of([&] { driven.recv(); }).find("nothing in flight") != std::string::npos);
  CHECK_EQ(driven.step(1).size(), 4);
}

TEST(a_hook_that_does_not_return_is_left_behind_and_the_others_are_not) {
  const LeakOnPurpose leak;
  DrivenKernelPool driven({.num_envs = 4, .num_threads = 2, .caller_works = false});
  driven.reset();
  hang = true;
  driven.send(Request::kStep, {0}, kHang);
  driven.pool.begin_recv();
  await([] { return hanging.load() == 1; });
  const Deadline start = Clock::now();
  CHECK(!driven.pool.stop_workers(in_milliseconds(100)));
  CHECK(Clock::now() - start < std::chrono::seconds(20));
  hang = false;  // the records must outlive it: it is done with them when it tells of its row
  await([&] { return driven.pool.front_ready(); });
}

TEST(steps_and_episodes_are_counted) {
  DrivenKernelPool driven({.num_envs = 3});
  driven.reset();
  for (int i = 0; i < 9; ++i) driven.step(1);
  // Env e: episodes of 3 + e steps, each followed by a reset.
  const KernelEnvs& envs = driven.pool.engine().envs;
  const uint64_t steps[] = {7, 8, 8}, episodes[] = {2, 2, 1};
  for (uint32_t env = 0; env < 3; ++env) {
    CHECK_EQ(envs.steps(env), steps[env]);
    CHECK_EQ(envs.episodes[env].load(), episodes[env]);
  }
}

}  // namespace
}  // namespace envpool
