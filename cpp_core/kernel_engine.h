// An engine whose envs are stepped in runs by a kernel (kernel_abi.h), without Python and without the GIL.
//
// An order names the first env of a run, and KernelEnvs::next the others; their rows lie one behind the
// other. A worker writes a row only inside a run that it has popped, and an env belongs to one run at a time,
// so nothing here is locked but the list of failures. Each run is published once, on every path. A run cannot
// hang on its own account; a hook that does not return holds its worker, and close() leaves that behind.
//
// Synchronous: the caller chose the rows. Asynchronous: the run is written to the worker's scratch, takes as
// many free rows when it is done, and is copied there leaf by leaf: a slow env holds up only its own run.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cpp_core/arena.h"
#include "cpp_core/batch_head.h"
#include "cpp_core/counters.h"
#include "cpp_core/episode.h"
#include "cpp_core/kernel_abi.h"
#include "cpp_core/kernel_columns.h"

namespace envpool {

// What the engine keeps of each env beside its record. Written by the caller while the env is idle, and by
// its worker while it is not; the atomic ones may be read at any moment.
class KernelEnvs {
 public:
  enum Flag : uint8_t { kNeedsReset = 1, kReseed = 2 };

  explicit KernelEnvs(uint32_t num_envs)
      : next(num_envs),
        flags(num_envs, kNeedsReset),
        seeds(num_envs),
        elapsed(std::make_unique<std::atomic<int32_t>[]>(num_envs)),
        episodes(std::make_unique<std::atomic<uint32_t>[]>(num_envs)),
        ended_steps(std::make_unique<std::atomic<uint64_t>[]>(num_envs)) {}

  std::vector<uint32_t> next;  // of the env's run
  std::vector<uint8_t> flags;
  std::vector<int64_t> seeds;
  const std::unique_ptr<std::atomic<int32_t>[]> elapsed;       // steps of the episode, ended or not
  const std::unique_ptr<std::atomic<uint32_t>[]> episodes;     // that ended
  const std::unique_ptr<std::atomic<uint64_t>[]> ended_steps;  // of the episodes before this one

  uint64_t steps(uint32_t env) const {
    return ended_steps[env].load(std::memory_order_relaxed) +
           static_cast<uint64_t>(elapsed[env].load(std::memory_order_relaxed));
  }
  // An env's record was put in place of what it had: it is in an episode of so many steps, or at its end.
  void restore(uint32_t env, int32_t steps, bool over) {
    begin(env);
    elapsed[env].store(steps, std::memory_order_relaxed);
    // These steps were not made here: they count when the env makes more.
    ended_steps[env].fetch_sub(static_cast<uint64_t>(steps), std::memory_order_relaxed);
    flags[env] = over ? kNeedsReset : 0;
  }
  // The env begins an episode.
  void begin(uint32_t env) {
    bump(ended_steps[env], static_cast<uint64_t>(elapsed[env].load(std::memory_order_relaxed)));
    elapsed[env].store(0, std::memory_order_relaxed);
  }
};

// A hook that raised, until the caller asks.
struct KernelFailure {
  uint32_t block;
  uint32_t row;
  uint32_t env;
  int32_t hook;
  int32_t elapsed_step;
  bool in_step;  // not in a reset, which has no action
  EnvpoolRaised raised;
};

// What one worker keeps from run to run.
struct KernelBench {
  static constexpr uint32_t kScratchRows = 64;  // the most of a run in an asynchronous pool

  KernelColumns columns;
  std::vector<KernelFailure> failures;  // of the run, by their rows in it
  std::vector<size_t> offsets;          // of the leaves in the scratch …
  std::vector<std::byte> scratch;       // … a block of kScratchRows rows, in asynchronous pools

  KernelBench(const Layout& layout, uint32_t num_obs) : columns(layout, num_obs) {
    if (layout.is_async()) scratch.resize(layout.place_rows(kScratchRows, &offsets));
  }
  void begin() {}
  void end(Park& /*caller*/) {}
};

struct KernelEngine {
  KernelEngine(const Arena& its_arena, const EnvpoolKernel* its_kernel, unsigned char* its_records,
               std::shared_ptr<void> its_keeper, EpisodeRules its_rules, uint32_t its_num_obs,
               bool caller_works)
      : arena(its_arena),
        kernel(its_kernel),
        records(its_records),
        keeper(std::move(its_keeper)),
        rules(its_rules),
        num_obs(its_num_obs),
        first_thread_queue(caller_works ? 1 : 0),
        envs(arena.layout().num_envs) {}

  Arena arena;
  const EnvpoolKernel* const kernel;
  unsigned char* const records;
  const std::shared_ptr<void> keeper;  // of the records, and of the kernel's code
  const EpisodeRules rules;
  const uint32_t num_obs;  // leaves of the observation; those of the declared info come behind them
  const uint32_t first_thread_queue;
  KernelEnvs envs;
  // What a row took in the run that ended last. Written after each, so not beside what is read in each step.
  alignas(kCacheLine) std::atomic<uint32_t> row_ns{50};
  std::mutex mutex;
  std::vector<KernelFailure> failures;  // of batches that were not received yet

  // A worker needs nothing to step envs.
  struct Session {
    void enter() {}
    void leave() {}
  };
  std::unique_ptr<Session> open_session() { return std::make_unique<Session>(); }
  // In a synchronous pool each worker has a queue, the caller's (where it is one) first, and envs that are
  // its own: what it wrote in the last batch is still in its core's cache. Whoever is done with its own takes
  // from another that has more than one run left. The last one is worth waiting for: to move its envs from
  // core to core takes longer than to step them. Should its worker not come, the caller takes it after all.
  // In an asynchronous pool all share one queue: nothing waits behind an env that is slow.
  static uint32_t num_queues(bool is_async, uint32_t num_threads, bool caller_works) {
    return is_async ? 1 : std::max<uint32_t>(1, num_threads + (caller_works ? 1 : 0));
  }
  uint32_t queue_of_thread(uint32_t thread) const {
    return (first_thread_queue + thread) % arena.layout().num_queues;
  }
  bool take(uint32_t queue, Order* order) const {
    return arena.queue(queue).try_pop(order) || take_another(queue, order, 2);
  }
  bool take_another(uint32_t queue, Order* order, uint64_t at_least) const {
    const uint32_t queues = arena.layout().num_queues;
    for (uint32_t i = 1; i < queues; ++i) {
      EnvQueue other = arena.queue((queue + i) % queues);
      if (other.size() >= at_least && other.try_pop(order)) return true;
    }
    return false;
  }
  KernelBench bench() const { return KernelBench(arena.layout(), num_obs); }
  unsigned char* record(uint32_t env) const { return records + env * kernel->state_bytes; }
};

// Plays the rows of one run, by the rules of episode.h.
class KernelRun {
 public:
  KernelRun(KernelEngine& engine, const Order& order, KernelBench& bench)
      : engine_(engine),
        envs_(engine.envs),
        kernel_(*engine.kernel),
        columns_(bench.columns),
        failures_(bench.failures),
        order_(order),
        asked_(order.request == Request::kReset) {}

  void play() {
    uint32_t env = order_.env;
    for (uint32_t i = 0; i < order_.count; ++i) {
      const uint32_t following = envs_.next[env];
      if (asked_ || (envs_.flags[env] & KernelEnvs::kNeedsReset) != 0) {
        first(env, i);
      } else {
        step(env, i);
      }
      columns_.advance();
      env = following;
    }
    columns_.derive(order_.count);
  }

 private:
  void first(uint32_t env, uint32_t i) {
    columns_.clear_all_but_obs();
    envs_.begin(env);
    if (reset(env, i)) columns_.say(env, 0);
  }

  void step(uint32_t env, uint32_t i) {
    void* error = nullptr;
    const auto* action = reinterpret_cast<const unsigned char*>(engine_.arena.action(env));
    const int32_t hook = kernel_.step(engine_.record(env), action, columns_.leaves(), &error);
    if (hook != 0) return fail(env, i, hook, /*in_step=*/true, error);
    const int32_t elapsed = envs_.elapsed[env].load(std::memory_order_relaxed) + 1;
    envs_.elapsed[env].store(elapsed, std::memory_order_relaxed);
    if (elapsed >= engine_.rules.max_episode_steps) columns_.truncate();
    columns_.say(env, elapsed);
    if (columns_.done()) end(env, i);
  }

  void end(uint32_t env, uint32_t i) {
    envs_.flags[env] |= KernelEnvs::kNeedsReset;
    if (engine_.rules.autoreset == Autoreset::kSameStep) {
      columns_.keep_finals();
      columns_.clear_info();
      if (!reset(env, i)) return;
      envs_.begin(env);
    }
    bump(envs_.episodes[env], 1U);
  }

  // False: the env failed, and so did its row.
  bool reset(uint32_t env, uint32_t i) {
    void* error = nullptr;
    uint8_t& flags = envs_.flags[env];
    int32_t hook = 0;
    if ((flags & KernelEnvs::kReseed) != 0) {
      hook = kernel_.seed(engine_.record(env), envs_.seeds[env], &error);
    }
    if (hook == 0) hook = kernel_.reset(engine_.record(env), columns_.leaves(), &error);
    if (hook != 0) {
      fail(env, i, hook, /*in_step=*/false, error);
      return false;
    }
    flags = 0;
    return true;
  }

  // The row of an env that raised: zeros, truncated; the env's next step is a reset.
  void fail(uint32_t env, uint32_t i, int32_t hook, bool in_step, void* error) {
    const int32_t elapsed = envs_.elapsed[env].load(std::memory_order_relaxed);
    columns_.clear_as_failed();
    columns_.say(env, elapsed);
    bump(envs_.episodes[env], 1U);
    envs_.flags[env] |= KernelEnvs::kNeedsReset;
    failures_.push_back(
        {kNoBlock, i, env, hook, elapsed, in_step, *static_cast<const EnvpoolRaised*>(error)});
  }

  KernelEngine& engine_;
  KernelEnvs& envs_;
  const EnvpoolKernel& kernel_;
  KernelColumns& columns_;
  std::vector<KernelFailure>& failures_;
  const Order& order_;
  const bool asked_;
};

// Tells the caller of rows `first` to `first + count - 1` of a run, which are rows `row` and on of a block.
inline void publish_rows(KernelEngine& engine, const KernelBench& bench, uint32_t first, uint32_t count,
                         uint32_t block, uint32_t row) {
  BatchHead& head = engine.arena.head(block);
  const uint64_t round = head.round();
  for (KernelFailure failure : bench.failures) {
    if (failure.row < first || failure.row >= first + count) continue;
    failure.block = block;
    failure.row = row + (failure.row - first);
    head.failed.fetch_add(1, std::memory_order_relaxed);
    std::lock_guard lock(engine.mutex);
    engine.failures.push_back(failure);
  }
  count_done(head, round, engine.arena.words().caller, count);
}

// Takes free rows for the run that is in the scratch; they may belong to several batches. The caller opened
// rows for every env in flight before it sent it, so there are as many.
inline void settle_run(KernelEngine& engine, const KernelBench& bench, uint32_t total) {
  const Arena& arena = engine.arena;
  const Layout& layout = arena.layout();
  const uint64_t start = arena.words().next_row.fetch_add(total, std::memory_order_acq_rel);
  for (uint32_t first = 0, count = 0; first < total; first += count) {
    const auto row = static_cast<uint32_t>((start + first) % layout.batch_size);
    const uint64_t batch = (start + first) / layout.batch_size;
    count = std::min(total - first, layout.batch_size - row);
    const uint32_t block = arena.block_of_batch(batch).load(std::memory_order_acquire);
    for (uint32_t leaf = 0; leaf < layout.state.size(); ++leaf) {
      const auto nbytes = static_cast<size_t>(layout.state[leaf].nbytes);
      std::memcpy(arena.row(block, row).leaf(leaf),
                  bench.scratch.data() + bench.offsets[leaf] + first * nbytes, count * nbytes);
    }
    publish_rows(engine, bench, first, count, block, row);
  }
}

inline Outcome serve(KernelEngine& engine, const Order& order, KernelBench* bench) {
  const Layout& layout = engine.arena.layout();
  const bool has_rows = order.block != kNoBlock;
  bench->failures.clear();
  bench->columns.start(
      has_rows ? KernelBlock{engine.arena.block(order.block), layout.leaf_offsets.data(), order.row}
               : KernelBlock{bench->scratch.data(), bench->offsets.data(), 0});
  const Deadline start = Clock::now();
  KernelRun(engine, order, *bench).play();
  const std::chrono::nanoseconds took = Clock::now() - start;
  engine.row_ns.store(static_cast<uint32_t>(std::min<int64_t>(took.count() / order.count + 1, UINT32_MAX)),
                      std::memory_order_relaxed);
  if (has_rows) {
    publish_rows(engine, *bench, 0, order.count, order.block, order.row);
  } else {
    settle_run(engine, *bench, order.count);
  }
  return Outcome::kOk;
}

}  // namespace envpool
