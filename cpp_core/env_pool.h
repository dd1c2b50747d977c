// A pool: send envs to the workers, receive batches. Knows nothing of Python.
//
//   send:  caller ── check ids ── give each a row ── slots ── queue ──▶ workers
//   recv:  workers ── rows of a block ── count ──▶ caller ── block handed out, env ids free again
//
// One thread at a time calls a pool (the binding enforces it); workers run beside it. recv is three moves,
// so that the binding can wait without the GIL and look at signals: begin_recv(), then wait() or step_one()
// until front_ready(), then take_front(). wait() sleeps until the deadline at the latest.
//
// Synchronous (batch_size == num_envs): each send is one batch, received in the order of sends, rows in the
// order of the request. Asynchronous: rows are the envs that finish first, batch_size of them; fewer only
// when fewer are in flight.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/batch_ring.h"
#include "cpp_core/burial.h"
#include "cpp_core/engine.h"
#include "cpp_core/fault.h"
#include "cpp_core/thread_workers.h"

namespace envpool {

struct PoolOptions {
  uint32_t num_envs;
  uint32_t batch_size;
  uint32_t num_threads;  // worker threads of this process, besides the caller; they share queue 0
  bool caller_works;     // the caller steps, inside recv, what is due in queue 0
  int64_t spin_ns;       // how long the caller and its threads stay awake when there is nothing to do
  int32_t thread_affinity_offset;
};

class EnvPool {
 public:
  EnvPool(std::shared_ptr<Engine> engine, const PoolOptions& options)
      : options_(options), engine_(std::move(engine)), flight_(arena()), bench_(arena().layout()) {
    due_of_queue_.resize(arena().layout().num_queues);
    start_workers(options_.num_threads);
  }

  bool is_async() const { return flight_.is_async(); }
  bool caller_works() const { return options_.caller_works; }
  uint32_t num_in_flight() const { return flight_.num_in_flight(); }
  size_t num_pending_batches() const { return flight_.batches.size(); }
  bool in_flight(uint32_t env) const { return flight_.has(env); }
  // Its worker died while it was idle in the middle of an episode: its next step fails, and needs no worker.
  bool is_lost(uint32_t env) const { return flight_.lost[env]; }
  const std::shared_ptr<BatchRing>& ring() const { return flight_.ring(); }
  Arena& arena() const { return engine_->arena; }
  Stepper& stepper() const { return *engine_->stepper; }

  // See flight.h.
  void check_idle(const int32_t* envs, size_t count) { flight_.check_idle(envs, count); }
  void check_room() const { flight_.check_room(); }
  void refuse_in_flight(const std::vector<int32_t>& envs) const { flight_.refuse_in_flight(envs); }
  void refuse_pending() const { flight_.refuse_pending(); }

  // Throws kActionError when one of these idle envs must be reset, and nothing does it but the caller.
  void check_begun(const int32_t* envs, size_t count) const {
    if (engine_->rules.autoreset != Autoreset::kDisabled) return;
    std::string over;
    for (size_t i = 0; i < count; ++i) {
      const auto env = static_cast<uint32_t>(envs[i]);
      if (!arena().slot(env).needs_reset || flight_.lost[env]) continue;
      over += (over.empty() ? "" : ", ") + std::to_string(envs[i]);
    }
    if (!over.empty()) throw no_episode(over);
  }

  // Hands checked envs to the workers; their actions lie in the arena already.
  void submit(Request request, const int32_t* envs, uint32_t count) {
    const uint32_t block = flight_.open(count);
    for (uint32_t i = 0; i < count; ++i) {
      const auto env = static_cast<uint32_t>(envs[i]);
      if (!is_async()) arena().row_word(block, i).store(claimed_row(0, env), std::memory_order_relaxed);
      flight_.add(env);
      if (flight_.lost[env] && request == Request::kStep) continue;
      flight_.lost[env] = false;
      make_due({env, request, block, i});
    }
    flight_.added(count, [this](uint32_t opened, uint64_t number) {
      for (uint32_t i = 0; i < options_.batch_size; ++i) {
        arena().row_word(opened, i).store(free_row(number),
                                          std::memory_order_release);  // with its batch's head
      }
    });
    for (uint32_t i = 0; i < count; ++i) {
      const auto env = static_cast<uint32_t>(envs[i]);
      if (flight_.lost[env]) burial_.fail_lost({env, request, block, i});
    }
    push_due();
  }

  // Builds, closes or applies something to idle envs. Wait for it like for a batch, with errand_done().
  void start_errand(Request request, const std::vector<uint32_t>& envs) {
    errand_ = envs;
    arena().words().errands.open(static_cast<uint32_t>(envs.size()));
    for (const uint32_t env : envs) make_due({env, request});
    push_due();
  }
  std::vector<uint32_t> all_envs() const {
    std::vector<uint32_t> envs(options_.num_envs);
    std::iota(envs.begin(), envs.end(), 0U);
    return envs;
  }
  // The count alone does not tell: after a death it says nothing (wake_at_every_count), and it may hold an
  // env that is done with an errand from before.
  bool errand_done() const {
    return arena().words().errands.complete() &&  // pairs with count_done()
           std::none_of(errand_.begin(), errand_.end(), [this](uint32_t env) { return is_busy(env); });
  }
  bool errand_failed() const { return arena().words().errands.failed.load(std::memory_order_relaxed) > 0; }

  void begin_recv() { flight_.begin_recv(); }
  bool front_ready() const {
    const Batch& batch = flight_.batches.front();
    const bool counted =
        arena().head(batch.block).complete();  // when recounting too: pairs with count_done()
    return batch.recount ? burial_.published(batch) >= batch.rows : counted;
  }

  ReadyBatch take_front() { return flight_.take_front(); }

  // Before a run of step_one(): what lies before it is no env's time.
  void begin_steps() { bench_.begin(); }

  // The caller steps the next env that is due in its queue. False: nothing is, and all that it did is
  // counted.
  bool step_one(Outcome* outcome) {
    Order order;
    if (!arena().queue(0).try_pop(&order)) {
      bench_.end(arena().words().caller);
      return false;
    }
    *outcome = serve(*engine_, order, &bench_);
    return true;
  }

  template <typename Ready>
  Wait wait(const Ready& ready, Deadline deadline) {
    return wait_for_rows(arena(), ready, options_.spin_ns, deadline);
  }

  void start_workers(uint32_t count) {
    arena().words().stop.store(false, std::memory_order_seq_cst);
    if (count > 0) workers_.start(engine_, count, options_.spin_ns, options_.thread_affinity_offset);
  }
  // One thread more, should those there are be stuck inside envs.
  void add_worker() { workers_.add(engine_, options_.spin_ns, options_.thread_affinity_offset); }
  bool stop_workers(Deadline deadline) { return workers_.stop(deadline); }
  void forget_workers() { workers_.forget(); }

  // Tells worker processes to end, once they are done with the env they are at.
  void stop_processes() {
    arena().words().stop.store(true, std::memory_order_seq_cst);  // pairs with EnvQueue::wait
    for (uint32_t queue = 0; queue < arena().layout().num_queues; ++queue) arena().queue(queue).wake_all();
  }

  // The process that served `queue` is dead: see burial.h.
  std::vector<uint32_t> bury(uint32_t queue) { return burial_.bury(queue); }
  // A worker has it, or is to take it: one that popped an env has it before it says so.
  bool is_busy(uint32_t env) const { return arena().slot(env).state() != SlotState::kIdle; }
  bool is_built(uint32_t env) const { return arena().slot(env).built; }

  // Whatever no worker has taken yet is idle again; the row it was to fill never comes.
  void take_back_due() {
    for (uint32_t queue = 0; queue < arena().layout().num_queues; ++queue) {
      for (Order order; arena().queue(queue).try_pop(&order);) arena().slot(order.env).move(SlotEvent::kDrop);
    }
  }

  // Whatever is due or waiting to be received is forgotten. The pool can be used again when no worker is
  // inside an env; the row of one that is goes nowhere.
  void drop_everything() {
    take_back_due();
    flight_.forget();
  }

 private:
  void make_due(const Order& order) {
    arena().slot(order.env).move(SlotEvent::kSend);
    due_of_queue_[arena().layout().queue_of(order.env)].push_back(order);
  }

  // The caller's own queue last: the others are awake by the time the caller starts to work.
  void push_due() {
    for (uint32_t queue = arena().layout().num_queues; queue-- > 0;) {
      std::vector<Order>& due = due_of_queue_[queue];
      if (!due.empty()) arena().queue(queue).push(due.data(), due.size());
      due.clear();
    }
  }

  const PoolOptions options_;
  const std::shared_ptr<Engine> engine_;
  Flight flight_;
  WorkBench bench_;
  Burial burial_{engine_->arena, &flight_, &bench_};
  std::vector<std::vector<Order>> due_of_queue_;
  std::vector<uint32_t> errand_;
  ThreadWorkers<Engine> workers_;
};

}  // namespace envpool
