// A pool whose envs are stepped by a kernel: envs are sent in runs, and batches received. Knows nothing of
// Python. The counterpart of env_pool.h, by the same rules; what differs is that a run of envs is one order.
//
// One thread at a time calls a pool (the binding enforces it); workers run beside it. receiving is
// begin_recv(), then wait() or step_one() until front_ready(), then take_front(). wait() sleeps until the
// deadline at the latest, step_one() takes as long as a run does (kLongestNs, for hooks that take as long as
// they did).
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/flight.h"
#include "cpp_core/kernel_engine.h"
#include "cpp_core/thread_workers.h"

namespace envpool {

class KernelPool {
 public:
  KernelPool(std::shared_ptr<KernelEngine> engine, const PoolOptions& options)
      : options_(options), engine_(std::move(engine)), flight_(arena()), bench_(engine_->bench()) {
    due_of_queue_.resize(num_queues());
    link_all();
    if (options_.num_threads > 0) {
      workers_.start(engine_, options_.num_threads, options_.spin_ns, options_.thread_affinity_offset);
    }
  }

  bool is_async() const { return flight_.is_async(); }
  bool caller_works() const { return options_.caller_works; }
  bool has_workers() const { return options_.num_threads > 0; }
  uint32_t num_in_flight() const { return flight_.num_in_flight(); }
  size_t num_pending_batches() const { return flight_.batches.size(); }
  const std::shared_ptr<BatchRing>& ring() const { return flight_.ring(); }
  Arena& arena() const { return engine_->arena; }
  KernelEngine& engine() const { return *engine_; }

  // See flight.h. `envs` may be null here and below: all, in their order.
  void check_idle(const int32_t* envs, uint32_t count) {
    if (envs != nullptr) return flight_.check_idle(envs, count);
    for (uint32_t env = 0; flight_.num_in_flight() > 0 && env < count; ++env) {
      const auto id = static_cast<int32_t>(env);
      flight_.check_idle(&id, 1);
    }
  }
  void check_room() const { flight_.check_room(); }
  void refuse_in_flight(const std::vector<int32_t>& envs) const { flight_.refuse_in_flight(envs); }
  void refuse_pending() const { flight_.refuse_pending(); }

  // Throws kActionError when one of these idle envs must be reset, and nothing does it but the caller.
  void check_begun(const int32_t* envs, uint32_t count) const {
    if (engine_->rules.autoreset != Autoreset::kDisabled) return;
    std::string over;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t env = envs == nullptr ? i : static_cast<uint32_t>(envs[i]);
      if ((engine_->envs.flags[env] & KernelEnvs::kNeedsReset) == 0) continue;
      over += (over.empty() ? "" : ", ") + std::to_string(env);
    }
    if (!over.empty()) throw no_episode(over);
  }

  // Hands checked envs to the workers; their actions lie in the arena already.
  void submit(Request request, const int32_t* envs, uint32_t count) {
    const uint32_t block = flight_.open(count);
    if (envs == nullptr) {
      flight_.add_all();
      if (!linked_) link_all();
    } else {
      for (uint32_t i = 0; i < count; ++i) flight_.add(static_cast<uint32_t>(envs[i]));
      for (uint32_t i = 0; i + 1 < count; ++i) {
        engine_->envs.next[static_cast<uint32_t>(envs[i])] = static_cast<uint32_t>(envs[i + 1]);
      }
      linked_ = false;
    }
    flight_.added(count, [](uint32_t, uint64_t) {});
    if (worth_sharing(count)) {
      share(request, envs, count, block);
    } else {
      keep(request, envs, count, block);
    }
  }

  void begin_recv() { flight_.begin_recv(); }
  bool front_ready() const { return arena().head(flight_.batches.front().block).complete(); }
  // The front batch, which must be ready. Its envs are idle again.
  ReadyBatch take_front() { return flight_.take_front(); }

  // The failures of that batch, in row order.
  std::vector<KernelFailure> take_failures(const ReadyBatch& batch) {
    std::vector<KernelFailure> found;
    std::lock_guard lock(engine_->mutex);
    std::vector<KernelFailure>& all = engine_->failures;
    const auto others = std::stable_partition(
        all.begin(), all.end(), [&](const KernelFailure& failure) { return failure.block == batch.block; });
    found.assign(all.begin(), others);
    all.erase(all.begin(), others);
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.row < b.row; });
    return found;
  }

  // Serves the caller's own run if it is not worth giving up the GIL for. False: there is none.
  bool serve_short_run() {
    return own_.size() == 1 && cost_ns(own_.front().count) < kWorthSharingNs && step_one();
  }
  // The caller serves the next run. False: none is due.
  bool step_one() {
    Order order;
    if (!own_.empty()) {
      order = own_.front();
      own_.pop_front();
    } else if (!engine_->take(0, &order)) {
      return false;
    }
    serve(*engine_, order, &bench_);
    return true;
  }

  // Spins, then takes what another worker has not begun, or sleeps until `ready()` may have become true, a
  // signal, or the deadline.
  template <typename Ready>
  Wait wait(const Ready& ready, Deadline deadline) {
    if (spin_until(ready, options_.spin_ns)) return Wait::kWoken;
    Order order;
    if (!options_.caller_works || !engine_->take_another(0, &order, 1)) {
      return wait_for_rows(arena(), ready, /*spin_ns=*/0, deadline);
    }
    serve(*engine_, order, &bench_);
    return Wait::kWoken;
  }

  // Nothing is in flight afterwards. False: a thread is still inside a hook and was left behind.
  bool stop_workers(Deadline deadline) {
    const bool all = workers_.stop(deadline);
    own_.clear();
    for (Order order; engine_->take(0, &order) || engine_->take_another(0, &order, 1);) {
    }
    if (all) flight_.forget();
    return all;
  }
  void forget_workers() { workers_.forget(); }

 private:
  static constexpr uint64_t kWorthSharingNs = 6'000;  // less than this is done before another core is at it
  static constexpr uint64_t kShortestNs = 2'000;      // of a run, so that handing it over is little beside it
  static constexpr uint64_t kLongestNs = 1'000'000;   // of a run, so that signals are not kept waiting
  static constexpr uint64_t kRunsPerWorker = 4;       // so that one that is slow leaves some to the others

  uint64_t cost_ns(uint32_t count) const {
    return uint64_t{engine_->row_ns.load(std::memory_order_relaxed)} * count;
  }
  uint32_t num_queues() const { return arena().layout().num_queues; }
  uint32_t num_workers() const { return options_.num_threads + (options_.caller_works ? 1 : 0); }
  bool worth_sharing(uint32_t count) const {
    if (!options_.caller_works) return true;
    return options_.num_threads > 0 && cost_ns(count) >= kWorthSharingNs;
  }

  // Rows in a run, where `count` rows are dealt to so many workers.
  uint32_t run_length(uint32_t count, uint64_t workers) const {
    const uint64_t cost = cost_ns(count);
    // In an asynchronous pool nobody waits for a whole send, only for a batch, which is made of several runs.
    const uint64_t enough = (is_async() ? kRunsPerWorker / 2 : kRunsPerWorker) * workers;
    uint64_t runs = std::max(cost / kLongestNs, std::min(enough, cost / kShortestNs));
    if (is_async()) runs = std::max<uint64_t>(runs, 2 * ((count + batch_size() - 1) / batch_size()));
    const uint64_t length = (count + std::max<uint64_t>(runs, 1) - 1) / std::max<uint64_t>(runs, 1);
    return static_cast<uint32_t>(
        std::clamp<uint64_t>(length, 1, is_async() ? KernelBench::kScratchRows : kMostPerOrder));
  }
  uint32_t batch_size() const { return arena().layout().batch_size; }

  static uint32_t env_at(const int32_t* envs, uint32_t place) {
    return envs == nullptr ? place : static_cast<uint32_t>(envs[place]);
  }

  // For the caller alone.
  void keep(Request request, const int32_t* envs, uint32_t count, uint32_t block) {
    const uint32_t length = run_length(count, 1);
    for (uint32_t first = 0; first < count; first += length) {
      own_.push_back({env_at(envs, first), request, block, first, std::min(length, count - first)});
    }
  }

  // Each env to the queue that it always goes to: a run ends where the envs of another begin.
  void share(Request request, const int32_t* envs, uint32_t count, uint32_t block) {
    const Layout& layout = arena().layout();
    const uint32_t length = run_length(count, num_workers());
    for (uint32_t first = 0, last = 0; first < count; first = last) {
      const uint32_t env = env_at(envs, first);
      const uint32_t queue = layout.queue_of(env);
      const uint32_t begin = layout.first_env(queue), end = layout.first_env(queue + 1);
      const uint32_t most = std::min(count, first + length);
      if (envs == nullptr) {
        last = std::min(most, end);
      } else {
        const auto same = [&](int32_t id) { return static_cast<uint32_t>(id) - begin < end - begin; };
        last = static_cast<uint32_t>(std::find_if_not(envs + first, envs + most, same) - envs);
      }
      due_of_queue_[queue].push_back({env, request, block, first, last - first});
    }
    // The caller's own last: the others are awake by the time it starts to work.
    for (uint32_t queue = num_queues(); queue-- > 0;) {
      std::vector<Order>& due = due_of_queue_[queue];
      if (!due.empty()) arena().queue(queue).push(due.data(), due.size());
      due.clear();
    }
  }

  void link_all() {
    std::vector<uint32_t>& next = engine_->envs.next;
    for (uint32_t env = 0; env < next.size(); ++env) next[env] = env + 1;
    linked_ = true;
  }

  const PoolOptions options_;
  const std::shared_ptr<KernelEngine> engine_;
  Flight flight_;
  KernelBench bench_;
  std::vector<std::vector<Order>> due_of_queue_;
  std::deque<Order> own_;  // runs that only the caller serves
  bool linked_ = false;    // envs are followed by the next one
  ThreadWorkers<KernelEngine> workers_;
};

}  // namespace envpool
