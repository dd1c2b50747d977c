// A stepper without Python whose every number can be foretold.
//
// An env's observation, reward and flags follow from its id, its seed, and the requests and actions it got,
// in their order: a lost, doubled or swapped step or row shows in the numbers. Tests set each env's plan
// before any worker runs. Two workers inside one env, or a worker in an env that was closed, end the program.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cpp_core/engine.h"
#include "cpp_core/episode.h"
#include "cpp_core/stepper.h"
#include "tests/cpp/check.h"

namespace envpool {

// Holds whoever passes until it is opened. Starts open.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    CHECK(changed_.wait_until(lock, in_milliseconds(3 * check::kPatienceMs), [this] { return open_; }));
  }
  void open() { set(true); }
  void shut() { set(false); }
  uint64_t arrivals() {
    std::lock_guard lock(mutex_);
    return arrived_;
  }
  // Until `count` have come in all, whether they passed or are held.
  void await_arrivals(uint64_t count) {
    std::unique_lock lock(mutex_);
    CHECK(changed_.wait_until(lock, in_milliseconds(check::kPatienceMs), [&] { return arrived_ >= count; }));
  }

 private:
  void set(bool open) {
    std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  uint64_t arrived_ = 0;
};

enum class Call { kBuild, kReset, kStep, kClose, kApply };

struct FakePlan {
  int32_t episode_length = std::numeric_limits<int32_t>::max();  // terminated at this step
  int32_t truncated_at = std::numeric_limits<int32_t>::max();    // truncated by the env itself
  uint32_t most_spins = 0;  // a busy loop of up to this many turns, another length each time
  bool info = false;
  // What the env's n-th call of this kind (from 0) comes to; null: kOk. May block, look around, …
  std::function<Outcome(Call, uint64_t)> outcome;
};

// Observations of an env: obs[0], then a leaf of no bytes, then one of an odd number of bytes.
struct FakeObs {
  int64_t env, episode, t, state;
  bool operator==(const FakeObs&) const = default;
};
inline constexpr size_t kFakeBytes = 5;

inline int64_t fake_mix(int64_t state, int64_t with) {
  auto x = static_cast<uint64_t>(state) * 0x9E3779B97F4A7C15U + static_cast<uint64_t>(with);
  x ^= x >> 29;
  return static_cast<int64_t>(x * 0xBF58476D1CE4E5B9U ^ x >> 32);
}
inline float fake_reward(int64_t state) { return static_cast<float>(state % 1000); }

class FakeStepper final : public Stepper {
 public:
  explicit FakeStepper(uint32_t num_envs)
      : plans(num_envs), gates(num_envs), late_gates(num_envs), envs_(num_envs) {}

  std::vector<FakePlan> plans;
  std::deque<Gate> gates;       // each reset and step of env i passes gates[i]
  std::deque<Gate> late_gates;  // and late_gates[i], with its observation written
  Gate session_gate;            // each session passes it to enter
  std::atomic<int32_t> sessions{0}, inside{0}, entries{0};

  // Calls that env has had so far. For the caller, while the env is idle.
  uint64_t calls(uint32_t env, Call call) const { return envs_[env].calls[static_cast<size_t>(call)]; }
  ResetCause last_cause(uint32_t env) const { return envs_[env].last_cause; }
  void open_all_gates() {
    for (Gate& gate : gates) gate.open();
    for (Gate& gate : late_gates) gate.open();
  }

  std::unique_ptr<Session> open_session() override { return std::make_unique<FakeSession>(this); }

  Outcome build(uint32_t id) override {
    const Visit visit(this, id, Call::kBuild);
    if (visit.outcome() == Outcome::kOk) envs_[id].open = true;
    return visit.outcome();
  }

  Outcome reset(uint32_t id, const ResetOrder& order, RowClaim& claim, StepFlags* flags) override {
    gates[id].pass();
    const Visit visit(this, id, Call::kReset);
    Env& env = envs_[id];
    if (visit.outcome() != Outcome::kOk) return spoil(claim, flags, visit.outcome());
    env.state = order.seed != nullptr ? fake_mix(0, *order.seed) : fake_mix(env.state, -1);
    env.last_cause = order.cause;
    ++env.episode;
    env.t = 0;
    write(id, claim);
    // A reset has no end to report, whatever the env left in its flags.
    *flags = {.terminated = true, .truncated = true, .info = plans[id].info};
    return Outcome::kOk;
  }

  Outcome step(uint32_t id, const std::byte* action, RowClaim& claim, StepFlags* flags) override {
    gates[id].pass();
    const Visit visit(this, id, Call::kStep);
    Env& env = envs_[id];
    if (visit.outcome() != Outcome::kOk) return spoil(claim, flags, visit.outcome());
    env.state = fake_mix(env.state, *reinterpret_cast<const int64_t*>(action));
    ++env.t;
    write(id, claim);
    claim.row().put<float>(kReward, fake_reward(env.state));
    flags->terminated = env.t >= plans[id].episode_length;
    flags->truncated = env.t >= plans[id].truncated_at;
    flags->info = plans[id].info;
    return Outcome::kOk;
  }

  Outcome apply(uint32_t id) override {
    const Visit visit(this, id, Call::kApply);
    return visit.outcome();
  }

  Outcome close(uint32_t id) override {
    const Visit visit(this, id, Call::kClose);
    envs_[id].open = false;
    return visit.outcome();
  }

 private:
  struct alignas(kCacheLine) Env {
    std::atomic<bool> occupied{false};
    bool open = true;  // tests of single parts build nothing
    int64_t episode = -1, t = 0, state = 0;
    uint64_t calls[5] = {};
    ResetCause last_cause = ResetCause::kAsked;
  };

  class FakeSession final : public Session {
   public:
    explicit FakeSession(FakeStepper* stepper) : stepper_(stepper) { stepper_->sessions.fetch_add(1); }
    ~FakeSession() override {
      CHECK(!inside_);
      stepper_->sessions.fetch_sub(1);
    }
    void enter() override {
      stepper_->session_gate.pass();
      stepper_->entries.fetch_add(1);
      move(true);
    }
    void leave() override { move(false); }

   private:
    void move(bool inside) {
      CHECK(inside_ != inside);
      inside_ = inside;
      stepper_->inside.fetch_add(inside ? 1 : -1);
    }
    FakeStepper* stepper_;
    bool inside_ = false;
  };

  // One call of one env: alone in it, as long and with the end that the plan says.
  class Visit {
   public:
    Visit(FakeStepper* stepper, uint32_t id, Call call) : env_(stepper->envs_[id]) {
      CHECK(!env_.occupied.exchange(true));
      CHECK(env_.open || call == Call::kBuild || call == Call::kClose);
      const uint64_t number = env_.calls[static_cast<size_t>(call)]++;
      const FakePlan& plan = stepper->plans[id];
      if (plan.most_spins > 0) spin(static_cast<uint64_t>(fake_mix(id, static_cast<int64_t>(number))), plan);
      if (plan.outcome) outcome_ = plan.outcome(call, number);
    }
    ~Visit() { CHECK(env_.occupied.exchange(false)); }
    Visit(const Visit&) = delete;
    Outcome outcome() const { return outcome_; }

   private:
    static void spin(uint64_t noise, const FakePlan& plan) {
      // Mostly short, now and then long, so that envs overtake each other.
      const uint64_t turns = noise % 16 == 0 ? plan.most_spins : noise % (plan.most_spins / 16 + 1);
      std::atomic<uint64_t> turn{0};
      while (turn.fetch_add(1, std::memory_order_relaxed) < turns) {
      }
    }
    Env& env_;
    Outcome outcome_ = Outcome::kOk;
  };

  void write(uint32_t id, RowClaim& claim) {
    const Env& env = envs_[id];
    const FakeObs obs{static_cast<int64_t>(id), env.episode, env.t, env.state};
    std::memcpy(claim.row().obs(0), &obs, sizeof(obs));
    std::memset(claim.row().obs(2), static_cast<int>((id * 31 + env.t) % 251), kFakeBytes);
    late_gates[id].pass();
  }

  // A failing env may have written anything before it raised.
  static Outcome spoil(RowClaim& claim, StepFlags* flags, Outcome outcome) {
    const Row row = claim.row();
    std::memset(row.leaf(kReward), 0xA5, sizeof(float));
    std::memset(row.obs(0), 0xA5, sizeof(FakeObs));
    std::memset(row.obs(2), 0xA5, kFakeBytes);
    *flags = {.terminated = true, .truncated = true, .info = true};
    return outcome;
  }

  std::vector<Env> envs_;
};

inline Layout fake_layout(uint32_t num_envs, uint32_t batch_size, uint32_t num_queues = 1,
                          bool with_finals = false) {
  static constexpr int64_t four[] = {4}, none[] = {0}, five[] = {kFakeBytes};
  static constexpr EnvpoolLeaf obs[] = {
      {"obs", kInt64, kArray, 1, four, 4, sizeof(FakeObs), nullptr, nullptr},
      {"obs.empty", kFloat32, kArray, 1, none, 0, 0, nullptr, nullptr},
      {"obs.odd", kUInt8, kArray, 1, five, kFakeBytes, kFakeBytes, nullptr, nullptr},
  };
  return Layout(num_envs, batch_size, num_queues, state_leaves(kFloat32, obs, 3),
                {scalar_leaf("action", kInt64)}, with_finals);
}

inline std::shared_ptr<Engine> fake_engine(const Arena& arena, const EpisodeRules& rules = {}) {
  auto stepper = std::make_unique<FakeStepper>(arena.layout().num_envs);
  return std::shared_ptr<Engine>(new Engine{arena, std::move(stepper), rules, /*timed=*/false});
}

inline std::shared_ptr<Engine> fake_engine(uint32_t num_envs, uint32_t batch_size, uint32_t num_blocks,
                                           const EpisodeRules& rules = {}) {
  Layout layout = fake_layout(num_envs, batch_size, 1, rules.autoreset == Autoreset::kSameStep);
  layout.set_blocks(num_blocks);
  return fake_engine(Arena(std::move(layout)), rules);
}

inline FakeStepper& fake_of(Engine& engine) { return static_cast<FakeStepper&>(*engine.stepper); }

// What one row says, leaf by leaf.
struct FakeRow {
  int32_t env_id, elapsed_step;
  float reward;
  bool terminated, truncated, done, trunc;
  float discount;
  int32_t step_type;
  FakeObs obs;
  FakeObs final;  // where an episode ends and the next begins in one row
  uint8_t odd[kFakeBytes];
  bool operator==(const FakeRow&) const = default;
};

inline FakeRow read_row(const Row& row) {
  FakeRow read{};
  const auto copy = [&row](uint32_t leaf, void* to, size_t bytes) { std::memcpy(to, row.leaf(leaf), bytes); };
  copy(kEnvId, &read.env_id, sizeof(read.env_id));
  copy(kElapsedStep, &read.elapsed_step, sizeof(read.elapsed_step));
  copy(kReward, &read.reward, sizeof(read.reward));
  copy(kTerminated, &read.terminated, sizeof(read.terminated));
  copy(kTruncated, &read.truncated, sizeof(read.truncated));
  copy(kDone, &read.done, sizeof(read.done));
  copy(kTrunc, &read.trunc, sizeof(read.trunc));
  copy(kDiscount, &read.discount, sizeof(read.discount));
  copy(kStepType, &read.step_type, sizeof(read.step_type));
  copy(kFirstObs, &read.obs, sizeof(read.obs));
  copy(kFirstObs + 2, read.odd, sizeof(read.odd));
  if (read.done && row.layout().has_finals()) {
    copy(row.layout().final_of(kFirstObs), &read.final, sizeof(read.final));
  }
  return read;
}

inline std::ostream& operator<<(std::ostream& out, const FakeObs& obs) {
  return out << "{env " << obs.env << " episode " << obs.episode << " t " << obs.t << " state " << obs.state
             << "}";
}
inline std::ostream& operator<<(std::ostream& out, const FakeRow& row) {
  out << "{env_id " << row.env_id << " elapsed_step " << row.elapsed_step << " reward " << row.reward
      << " terminated " << row.terminated << " truncated " << row.truncated << " done " << row.done
      << " trunc " << row.trunc << " discount " << row.discount << " step_type " << row.step_type << " obs "
      << row.obs << " final " << row.final << " odd";
  for (const uint8_t byte : row.odd) out << " " << int{byte};
  return out << "}";
}

}  // namespace envpool
