#include <limits>
#include <memory>

#include "cpp_core/episode.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

constexpr uint32_t kEnv = 1;

// One env played by hand, without queue, batches or workers.
class Played {
 public:
  explicit Played(const EpisodeRules& rules = {}) : engine_(fake_engine(2, 2, 2, rules)) {
    slot().needs_reset = true;
  }

  FakeStepper& stepper() { return fake_of(*engine_); }
  FakePlan& plan() { return stepper().plans[kEnv]; }
  Slot& slot() { return engine_->arena.slot(kEnv); }
  BatchHead& head() { return engine_->arena.head(1); }

  FakeRow play(Request request, int64_t action = 0, Outcome expected = Outcome::kOk) {
    *reinterpret_cast<int64_t*>(engine_->arena.action(kEnv)) = action;
    // What an earlier batch left in this row must not shine through.
    for (uint32_t leaf = 0; leaf < engine_->arena.layout().state.size(); ++leaf) {
      std::memset(row().leaf(leaf), 0x5A, static_cast<size_t>(engine_->arena.layout().state[leaf].nbytes));
    }
    for (uint32_t leaf : {kTerminated, kTruncated, kDone, kTrunc}) row().put<bool>(leaf, true);
    const Order order{kEnv, request, /*block=*/1, /*row=*/1};
    RowClaim claim(engine_->arena, order, /*scratch=*/nullptr);
    CHECK_EQ(envpool::play(engine_->arena, stepper(), engine_->rules, order, claim), expected);
    return read_row(row());
  }
  FakeRow step(int64_t action = 0) { return play(Request::kStep, action); }
  FakeRow reset() { return play(Request::kReset); }

 private:
  Row row() { return engine_->arena.row(1, 1); }
  std::shared_ptr<Engine> engine_;
};

void check_flags(const FakeRow& row, bool terminated, bool truncated, StepType type) {
  CHECK_EQ(row.env_id, static_cast<int32_t>(kEnv));
  CHECK_EQ(row.terminated, terminated);
  CHECK_EQ(row.truncated, truncated);
  CHECK_EQ(row.done, terminated || truncated);
  CHECK_EQ(row.trunc, truncated && !terminated);
  CHECK_EQ(row.discount, terminated ? 0.0F : 1.0F);
  CHECK_EQ(row.step_type, static_cast<int32_t>(type));
}

void check_failed(const FakeRow& row, int32_t elapsed_step) {
  check_flags(row, false, true, kLast);
  CHECK_EQ(row.elapsed_step, elapsed_step);
  CHECK_EQ(row.reward, 0.0F);
  CHECK_EQ(row.obs, (FakeObs{}));
  for (const uint8_t byte : row.odd) CHECK_EQ(byte, 0);
}

TEST(episode_first_step_is_a_reset_and_last_step_is_followed_by_one) {
  Played env;
  env.plan().episode_length = 3;
  for (int64_t episode = 0; episode < 3; ++episode) {
    const FakeRow first = env.step(99);
    check_flags(first, false, false, kFirst);
    CHECK_EQ(first.elapsed_step, 0);
    CHECK_EQ(first.reward, 0.0F);
    CHECK_EQ(first.obs.t, 0);
    CHECK_EQ(first.obs.episode, episode);
    int64_t state = first.obs.state;
    for (int32_t t = 1; t <= 3; ++t) {
      const FakeRow row = env.step(t * 7);
      state = fake_mix(state, t * 7);
      check_flags(row, t == 3, false, t == 3 ? kLast : kMid);
      CHECK_EQ(row.elapsed_step, t);
      CHECK_EQ(row.obs, (FakeObs{kEnv, episode, t, state}));
      CHECK_EQ(row.reward, fake_reward(state));
    }
  }
  CHECK_EQ(env.slot().steps.load(), 9);  // a reset is no step
  CHECK_EQ(env.slot().episodes.load(), 3);
  CHECK_EQ(env.stepper().calls(kEnv, Call::kStep), 9);
  CHECK_EQ(env.stepper().calls(kEnv, Call::kReset), 3);
}

TEST(episode_in_same_step_mode_ends_and_begins_in_one_row) {
  Played env({.max_episode_steps = 3, .autoreset = Autoreset::kSameStep});
  env.step();
  CHECK_EQ(env.stepper().last_cause(kEnv), ResetCause::kAutoreset);  // the first one of all
  env.step(1);
  const FakeRow before = env.step(2);
  CHECK_EQ(before.final, (FakeObs{}));
  const FakeRow row = env.step(3);
  check_flags(row, false, true, kLast);
  CHECK_EQ(row.elapsed_step, 3);
  CHECK_EQ(row.reward, fake_reward(row.final.state));
  CHECK_EQ(row.final, (FakeObs{kEnv, 0, 3, fake_mix(before.obs.state, 3)}));
  CHECK_EQ(row.obs, (FakeObs{kEnv, 1, 0, fake_mix(row.final.state, -1)}));
  CHECK_EQ(env.stepper().last_cause(kEnv), ResetCause::kSameStep);
  const FakeRow next = env.step(4);
  check_flags(next, false, false, kMid);
  CHECK_EQ(next.elapsed_step, 1);
  CHECK_EQ(env.slot().episodes.load(), 1);
  CHECK_EQ(env.slot().steps.load(), 4);
}

TEST(episode_whose_end_cannot_be_followed_by_a_reset_fails_once) {
  Played env({.autoreset = Autoreset::kSameStep});
  env.plan().episode_length = 1;
  env.plan().outcome = [](Call call, uint64_t number) {
    return call == Call::kReset && number == 1 ? Outcome::kFailed : Outcome::kOk;
  };
  env.step();
  const FakeRow row = env.play(Request::kStep, 5, Outcome::kFailed);
  check_failed(row, 1);
  CHECK_EQ(row.final, (FakeObs{}));
  CHECK_EQ(env.slot().episodes.load(), 1);
  check_flags(env.step(), false, false, kFirst);
}

TEST(episode_ends_are_the_callers_affair_where_autoreset_is_disabled) {
  Played env({.autoreset = Autoreset::kDisabled});
  env.plan().episode_length = 1;
  env.reset();
  CHECK_EQ(env.stepper().last_cause(kEnv), ResetCause::kAsked);
  check_flags(env.step(), true, false, kLast);
  CHECK(env.slot().needs_reset);
  check_flags(env.reset(), false, false, kFirst);
  CHECK(!env.slot().needs_reset);
}

TEST(episode_reset_request_in_the_middle_starts_afresh) {
  Played env;
  env.reset();
  env.step();
  env.step();
  const FakeRow row = env.reset();
  check_flags(row, false, false, kFirst);
  CHECK_EQ(row.elapsed_step, 0);
  CHECK_EQ(row.obs.episode, 1);
  CHECK_EQ(env.step().elapsed_step, 1);
  CHECK_EQ(env.slot().episodes.load(), 0);
}

TEST(episode_is_truncated_at_its_limit_and_counts_anew_after_it) {
  Played env({.max_episode_steps = 2});
  for (int episode = 0; episode < 2; ++episode) {
    check_flags(env.step(), false, false, kFirst);
    check_flags(env.step(), false, false, kMid);
    const FakeRow last = env.step();
    check_flags(last, false, true, kLast);
    CHECK_EQ(last.elapsed_step, 2);
    CHECK(last.obs.t == 2);  // the last observation is the env's own
  }
}

TEST(episode_that_terminates_at_the_limit_says_both) {
  Played env({.max_episode_steps = 2});
  env.plan().episode_length = 2;
  env.step();
  env.step();
  check_flags(env.step(), true, true, kLast);
}

TEST(episode_limit_of_one_ends_each_episode_at_its_first_step) {
  Played env({.max_episode_steps = 1});
  check_flags(env.step(), false, false, kFirst);
  check_flags(env.step(), false, true, kLast);
  check_flags(env.step(), false, false, kFirst);
}

TEST(episode_keeps_the_envs_own_truncation) {
  Played env;
  env.plan().truncated_at = 1;
  env.step();
  check_flags(env.step(), false, true, kLast);
  check_flags(env.step(), false, false, kFirst);
}

TEST(episode_failed_step_gives_zeros_and_truncated_and_resets_next) {
  Played env;
  env.plan().outcome = [](Call call, uint64_t number) {
    return call == Call::kStep && number == 1 ? Outcome::kFailed : Outcome::kOk;
  };
  env.step();
  env.step();
  check_failed(env.play(Request::kStep, 5, Outcome::kFailed), 1);
  CHECK_EQ(env.head().failed.load(), 1);
  CHECK_EQ(env.head().infos.load(), 0);  // a flag that the env set before it failed counts for nothing
  CHECK_EQ(env.slot().steps.load(), 1);
  check_flags(env.step(), false, false, kFirst);
  CHECK_EQ(env.step().elapsed_step, 1);
  CHECK_EQ(env.head().failed.load(), 1);
}

TEST(episode_failed_reset_gives_zeros_and_truncated_and_resets_again) {
  Played env;
  env.plan().outcome = [](Call call, uint64_t number) {
    return call == Call::kReset && number < 2 ? Outcome::kFailed : Outcome::kOk;
  };
  check_failed(env.play(Request::kReset, 0, Outcome::kFailed), 0);
  check_failed(env.play(Request::kStep, 0, Outcome::kFailed), 0);
  check_flags(env.step(), false, false, kFirst);
}

TEST(episode_interrupted_step_ends_the_episode_but_is_no_failure_of_the_env) {
  Played env;
  env.plan().outcome = [](Call call, uint64_t number) {
    return call == Call::kStep && number == 0 ? Outcome::kInterrupted : Outcome::kOk;
  };
  env.step();
  check_failed(env.play(Request::kStep, 0, Outcome::kInterrupted), 0);
  CHECK_EQ(env.head().failed.load(), 0);
  check_flags(env.step(), false, false, kFirst);
}

TEST(episode_seed_is_given_once_and_kept_until_a_reset_succeeds) {
  Played env;
  env.plan().outcome = [](Call call, uint64_t number) {
    return call == Call::kReset && number == 0 ? Outcome::kFailed : Outcome::kOk;
  };
  env.slot().reseed = true;
  env.slot().seed = 1234;
  env.play(Request::kReset, 0, Outcome::kFailed);
  CHECK(env.slot().reseed);
  const FakeRow seeded = env.reset();
  CHECK_EQ(seeded.obs.state, fake_mix(0, 1234));
  CHECK(!env.slot().reseed);
  CHECK_EQ(env.reset().obs.state, fake_mix(seeded.obs.state, -1));  // not seeded a second time
}

TEST(episode_seed_waits_for_a_reset_and_does_not_touch_a_running_episode) {
  Played env;
  env.plan().episode_length = 2;
  const int64_t state = env.reset().obs.state;
  env.slot().reseed = true;
  env.slot().seed = -5;
  CHECK_EQ(env.step(1).obs.state, fake_mix(state, 1));
  CHECK(env.slot().reseed);
  env.step();
  CHECK_EQ(env.step().obs.state, fake_mix(0, -5));
  CHECK(!env.slot().reseed);
}

TEST(episode_counts_rows_with_info_in_their_batch) {
  Played env;
  env.reset();
  CHECK_EQ(env.head().infos.load(), 0);
  env.plan().info = true;
  env.reset();
  env.step();
  CHECK_EQ(env.head().infos.load(), 2);
}

TEST(episode_whose_row_ends_with_a_reset_has_the_info_that_the_reset_says) {
  for (const Call told : {Call::kStep, Call::kReset}) {
    Played env({.autoreset = Autoreset::kSameStep});
    env.plan().episode_length = 1;
    env.reset();
    env.plan().outcome = [&](Call call, uint64_t) {
      env.plan().info = call == told;
      return Outcome::kOk;
    };
    env.step();
    CHECK_EQ(env.head().infos.load(), told == Call::kReset ? 1 : 0);
  }
}

}  // namespace
}  // namespace envpool
