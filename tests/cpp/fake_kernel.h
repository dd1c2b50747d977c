// A kernel whose every number can be foretold, and a pool of it that a test drives.
//
// Env's observation: its seed, how often it was reset, and its steps in the episode; reward: its action. An
// episode ends after kLength + seed % 3 steps. Action kRaise fails, kHang takes as long as a test wants.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "cpp_core/kernel_pool.h"
#include "tests/cpp/check.h"

namespace envpool {

struct FakeRecord {
  int64_t seed, resets, t;
};

inline constexpr int64_t kLength = 3;
inline constexpr int64_t kRaise = -1, kHang = -2;
inline std::atomic<bool> hang{false};     // envs stay inside kHang while it is set
inline std::atomic<uint32_t> hanging{0};  // so many do
inline constexpr int32_t kFakeSeedHook = 2, kFakeResetHook = 3, kFakeHook = 4;

// The thread's one exception, as that of a generated module; it has the address of the record.
inline void* raised_by(const unsigned char* state) {
  static thread_local EnvpoolRaised raised{};
  raised = {"it", 1, 0, {reinterpret_cast<int64_t>(state)}, {}};
  return &raised;
}
// Fails with the seed kRaise.
inline int32_t fake_seed(unsigned char* state, int64_t seed, void** error) {
  auto* record = reinterpret_cast<FakeRecord*>(state);
  if (seed == kRaise) {
    *error = raised_by(state);
    return kFakeSeedHook;
  }
  record->seed = seed;
  return 0;
}
inline void fake_obs(const FakeRecord& record, unsigned char* const* leaves) {
  const int64_t obs[] = {record.seed, record.resets, record.t};
  std::memcpy(leaves[kKernelFirstObs], obs, sizeof(obs));
}
// Fails where a test has set `resets` to kRaise.
inline int32_t fake_reset(unsigned char* state, unsigned char* const* leaves, void** error) {
  auto* record = reinterpret_cast<FakeRecord*>(state);
  if (record->resets == kRaise) {
    *error = raised_by(state);
    return kFakeResetHook;
  }
  record->t = 0;
  ++record->resets;
  fake_obs(*record, leaves);
  return 0;
}
inline int32_t fake_step(unsigned char* state, const unsigned char* action, unsigned char* const* leaves,
                         void** error) {
  auto* record = reinterpret_cast<FakeRecord*>(state);
  int64_t value = 0;
  std::memcpy(&value, action, sizeof(value));
  if (value == kRaise) {
    *error = raised_by(state);
    return kFakeHook;
  }
  if (value == kHang) {
    hanging.fetch_add(1);
    while (hang.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    hanging.fetch_sub(1);
  }
  ++record->t;
  fake_obs(*record, leaves);
  const auto reward = static_cast<float>(value);
  std::memcpy(leaves[kKernelReward], &reward, sizeof(reward));
  *leaves[kKernelTerminated] = record->t >= kLength + record->seed % 3 ? 1 : 0;
  *leaves[kKernelTruncated] = 0;
  std::memcpy(leaves[kKernelFirstObs + 1], &value, sizeof(value));  // info: the action
  return 0;
}

inline constexpr EnvpoolKernel kFakeKernel{sizeof(FakeRecord), fake_seed, fake_reset, fake_step};

struct KernelRow {
  int32_t env_id, elapsed_step, step_type;
  float reward, discount;
  bool terminated, truncated, done, trunc;
  FakeRecord obs, final_obs;
  int64_t info;
};

class DrivenKernelPool {
 public:
  struct Settings {
    uint32_t num_envs = 4;
    uint32_t batch_size = 0;
    uint32_t num_threads = 0;
    bool caller_works = true;
    Autoreset autoreset = Autoreset::kNextStep;
    int32_t max_episode_steps = INT32_MAX;
  };

  explicit DrivenKernelPool(const Settings& settings)
      : records(settings.num_envs), pool(make_engine(settings), options(settings)) {
    for (uint32_t env = 0; env < settings.num_envs; ++env) {
      pool.engine().envs.seeds[env] = env;
      pool.engine().envs.flags[env] |= KernelEnvs::kReseed;
    }
  }
  ~DrivenKernelPool() { CHECK(pool.stop_workers(in_milliseconds(check::kPatienceMs))); }

  // An empty list: all of them.
  void send(Request request, const std::vector<int32_t>& envs, int64_t action = 0) {
    const std::vector<int64_t> actions(envs.empty() ? records.size() : envs.size(), action);
    send(request, envs, actions);
  }
  void send(Request request, const std::vector<int32_t>& envs, const std::vector<int64_t>& actions) {
    const auto count = static_cast<uint32_t>(actions.size());
    const int32_t* ids = envs.empty() ? nullptr : envs.data();
    pool.check_idle(ids, count);
    pool.check_begun(ids, request == Request::kStep ? count : 0);
    pool.check_room();
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t env = envs.empty() ? i : static_cast<uint32_t>(envs[i]);
      std::memcpy(pool.arena().action(env), &actions[i], sizeof(int64_t));
    }
    pool.submit(request, ids, count);
  }

  std::vector<KernelRow> recv() {
    pool.begin_recv();
    const auto ready = [this] { return pool.front_ready(); };
    while (!ready()) {
      if (pool.caller_works() && pool.step_one()) continue;
      // A lost wake-up is a deadline that passed with the batch complete.
      CHECK(pool.wait(ready, in_milliseconds(check::kPatienceMs)) != Wait::kTimedOut);
    }
    const ReadyBatch batch = pool.take_front();
    failures = pool.take_failures(batch);
    CHECK_EQ(batch.failed, !failures.empty());
    std::vector<KernelRow> rows;
    for (uint32_t i = 0; i < batch.rows; ++i) rows.push_back(read(pool.arena().row(batch.block, i)));
    pool.ring()->release(batch.block);
    return rows;
  }
  std::vector<KernelRow> step(int64_t action = 0, const std::vector<int32_t>& envs = {}) {
    send(Request::kStep, envs, action);
    return recv();
  }
  std::vector<KernelRow> reset(const std::vector<int32_t>& envs = {}) {
    send(Request::kReset, envs);
    return recv();
  }

  std::vector<FakeRecord> records;
  std::vector<KernelFailure> failures;  // of the last batch
  KernelPool pool;

 private:
  static PoolOptions options(const Settings& settings) {
    return {settings.num_envs,  batch_size(settings),         settings.num_threads, settings.caller_works,
            /*spin_ns=*/20'000, /*thread_affinity_offset=*/-1};
  }
  static uint32_t batch_size(const Settings& settings) {
    return settings.batch_size == 0 ? settings.num_envs : settings.batch_size;
  }
  std::shared_ptr<KernelEngine> make_engine(const Settings& settings) {
    static constexpr int64_t shape[] = {3};
    static constexpr EnvpoolLeaf obs[] = {
        {"obs", kInt64, kArray, 1, shape, 3, 24, nullptr, nullptr},
        scalar_leaf("last", kInt64),  // declared info
    };
    const uint32_t queues = KernelEngine::num_queues(batch_size(settings) < settings.num_envs,
                                                     settings.num_threads, settings.caller_works);
    Layout layout(settings.num_envs, batch_size(settings), queues, state_leaves(kFloat32, obs, 2),
                  {scalar_leaf("action", kInt64)}, settings.autoreset == Autoreset::kSameStep,
                  /*with_slots=*/false);
    layout.set_blocks(Flight::most_batches(settings.num_envs, batch_size(settings)) + 4);
    return std::make_shared<KernelEngine>(
        Arena(std::move(layout)), &kFakeKernel, reinterpret_cast<unsigned char*>(records.data()), nullptr,
        EpisodeRules{settings.max_episode_steps, settings.autoreset}, 1, settings.caller_works);
  }
  template <typename T>
  static T get(const Row& row, uint32_t leaf) {
    T value;
    std::memcpy(&value, row.leaf(leaf), sizeof(value));
    return value;
  }
  static KernelRow read(const Row& row) {
    const Layout& layout = row.layout();
    KernelRow read{get<int32_t>(row, kEnvId),
                   get<int32_t>(row, kElapsedStep),
                   get<int32_t>(row, kStepType),
                   get<float>(row, kReward),
                   get<float>(row, kDiscount),
                   get<bool>(row, kTerminated),
                   get<bool>(row, kTruncated),
                   get<bool>(row, kDone),
                   get<bool>(row, kTrunc),
                   get<FakeRecord>(row, kFirstObs),
                   {},
                   get<int64_t>(row, kFirstObs + 1)};
    if (layout.has_finals()) read.final_obs = get<FakeRecord>(row, layout.final_of(kFirstObs));
    return read;
  }
};

}  // namespace envpool
