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
#include "cpp_core/fault.h"
#include "cpp_core/thread_workers.h"
#include "cpp_core/worker.h"

namespace envpool {

struct PoolOptions {
  uint32_t num_envs;
  uint32_t batch_size;
  uint32_t num_threads;  // worker threads of this process, besides the caller; they share queue 0
  bool caller_works;     // the caller steps, inside recv, what is due in queue 0
  int64_t spin_ns;       // how long the caller and its threads stay awake when there is nothing to do
  int32_t thread_affinity_offset;
};

// A batch that is complete: `rows` rows of `block`.
struct ReadyBatch {
  uint32_t block;
  uint32_t rows;
  bool failed;
  bool infos;
};

class EnvPool {
 public:
  // How many batches can be in flight: what the ring must keep back from the user.
  static uint32_t most_in_flight(uint32_t num_envs, uint32_t batch_size) {
    if (batch_size < num_envs) return (num_envs + batch_size - 1) / batch_size + 1;
    return std::min(num_envs, kMostPendingSends);
  }
  static constexpr uint32_t kMostPendingSends = 16;

  EnvPool(std::shared_ptr<Engine> engine, const PoolOptions& options)
      : options_(options),
        engine_(std::move(engine)),
        ring_(std::make_shared<BatchRing>(engine_, most_in_flight(options.num_envs, options.batch_size))),
        flight_(options.num_envs),
        bench_(arena().layout()) {
    due_of_queue_.resize(arena().layout().num_queues);
    start_workers(options_.num_threads);
  }

  bool is_async() const { return options_.batch_size < options_.num_envs; }
  bool caller_works() const { return options_.caller_works; }
  uint32_t num_in_flight() const { return num_in_flight_; }
  size_t num_pending_batches() const { return flight_.batches.size(); }
  bool in_flight(uint32_t env) const { return flight_.envs[env]; }
  // Its worker died while it was idle in the middle of an episode: its next step fails, and needs no worker.
  bool is_lost(uint32_t env) const { return flight_.lost[env]; }
  const std::shared_ptr<BatchRing>& ring() const { return ring_; }
  Arena& arena() const { return engine_->arena; }
  Stepper& stepper() const { return *engine_->stepper; }

  // Throws kActionError, and changes nothing, unless every id is in range, idle, and there once.
  void check_idle(const int32_t* envs, size_t count) {
    size_t marked = 0;
    while (marked < count && mark(envs[marked])) ++marked;
    for (size_t i = 0; i < marked; ++i) flight_.envs[static_cast<size_t>(envs[i])] = false;
    if (marked < count) throw Fault(FaultKind::kActionError, what_is_wrong(envs, marked));
  }

  // Throws kActionError when one of these idle envs must be reset, and nothing does it but the caller.
  void check_begun(const int32_t* envs, size_t count) const {
    if (engine_->rules.autoreset != Autoreset::kDisabled) return;
    std::string over;
    for (size_t i = 0; i < count; ++i) {
      const auto env = static_cast<uint32_t>(envs[i]);
      if (!arena().slot(env).needs_reset || flight_.lost[env]) continue;
      over += (over.empty() ? "" : ", ") + std::to_string(envs[i]);
    }
    if (over.empty()) return;
    throw Fault(FaultKind::kActionError,
                "env_id " + over + ": no episode is going on (it ended, or none began), and " +
                    "autoreset_mode is 'disabled'; reset(env_id=[" + over + "]) first");
  }

  // Throws kPendingCallError when no more batches may be in flight.
  void check_room() const {
    if (!is_async() && !ring_->has_room()) throw_too_many_pending();
  }

  // Hands checked envs to the workers; their actions lie in the arena already.
  void submit(Request request, const int32_t* envs, uint32_t count) {
    uint32_t block = kNoBlock;
    if (!is_async()) {
      if (!ring_->acquire(&block)) throw_too_many_pending();
      open_batch(block, count);
    }
    for (uint32_t i = 0; i < count; ++i) {
      const auto env = static_cast<uint32_t>(envs[i]);
      if (!is_async()) arena().row_word(block, i).store(claimed_row(0, env), std::memory_order_relaxed);
      flight_.envs[env] = true;
      if (flight_.lost[env] && request == Request::kStep) continue;
      flight_.lost[env] = false;
      make_due({env, request, block, i});
    }
    num_in_flight_ += count;
    while (is_async() && flight_.batches.size() * options_.batch_size < num_in_flight_) assign_next_batch();
    for (uint32_t i = 0; i < count; ++i) {
      const auto env = static_cast<uint32_t>(envs[i]);
      if (flight_.lost[env]) burial_.fail_lost({env, request, block, i});
    }
    push_due();
  }

  // Builds, closes or applies something to idle envs. Wait for it like for a batch, with errand_done().
  void start_errand(Request request, const std::vector<uint32_t>& envs) {
    errand_ = envs;
    errand_recount_ = false;
    arena().words().errands.open(static_cast<uint32_t>(envs.size()));
    for (const uint32_t env : envs) make_due({env, request});
    push_due();
  }
  std::vector<uint32_t> all_envs() const {
    std::vector<uint32_t> envs(options_.num_envs);
    std::iota(envs.begin(), envs.end(), 0U);
    return envs;
  }
  bool errand_done() const {
    const bool counted = arena().words().errands.complete();  // when recounting too: pairs with count_done()
    if (!errand_recount_) return counted;
    return std::all_of(errand_.begin(), errand_.end(),
                       [this](uint32_t env) { return state_of(env) == SlotState::kIdle; });
  }
  bool errand_failed() const { return arena().words().errands.failed.load(std::memory_order_relaxed) > 0; }

  void begin_recv() {
    if (flight_.batches.empty()) {
      throw Fault(FaultKind::kNothingPendingError,
                  "recv() with nothing in flight; send(), reset() or async_reset() first");
    }
    if (!is_async()) return;
    // A short batch: fewer envs are in flight than a batch has rows. seq_cst: pairs with publish().
    front().rows = std::min(options_.batch_size, num_in_flight_);
    if (front().recount) return;
    arena().head(front().block).rows_expected.store(front().rows, std::memory_order_seq_cst);
  }
  bool front_ready() const {
    const Batch& batch = flight_.batches.front();
    const bool counted =
        arena().head(batch.block).complete();  // when recounting too: pairs with count_done()
    return batch.recount ? burial_.published(batch) >= batch.rows : counted;
  }

  // The front batch, which must be ready. Its envs are idle again.
  ReadyBatch take_front() {
    const Batch batch = flight_.batches.front();
    flight_.batches.pop_front();
    ++batches_taken_;
    if (is_async() && batch.rows < options_.batch_size) {
      // Nothing else is in flight, so no worker is about to take a row: the next batch starts a block.
      arena().words().next_row.store(batches_taken_ * options_.batch_size, std::memory_order_release);
    }
    for (uint32_t i = 0; i < batch.rows; ++i) {
      flight_.envs[*reinterpret_cast<int32_t*>(arena().row(batch.block, i).leaf(kEnvId))] = false;
    }
    num_in_flight_ -= batch.rows;
    const BatchHead& head = arena().head(batch.block);
    return {batch.block, batch.rows, head.failed.load(std::memory_order_relaxed) > 0,
            head.infos.load(std::memory_order_relaxed) > 0};
  }

  // Before a run of step_one(): what lies before it is no env's time.
  void begin_steps() { bench_.ticks = read_ticks(); }

  // The caller steps the next env that is due in its queue. False: nothing is, and all that it did is
  // counted.
  bool step_one(Outcome* outcome) {
    Order order;
    if (!arena().queue(0).try_pop(&order)) {
      bench_.tally.flush(arena().words().caller);
      return false;
    }
    *outcome = serve(*engine_, order, &bench_);
    return true;
  }

  // Spins, then sleeps, until `ready()` may have become true, a signal, or the deadline.
  template <typename Ready>
  Wait wait(const Ready& ready, Deadline deadline) {
    if (spin_until(ready, options_.spin_ns)) return Wait::kWoken;
    Park& park = arena().words().caller;
    const uint32_t ticket = park.prepare();
    if (ready()) {
      park.cancel();
      return Wait::kWoken;
    }
    return park.sleep(ticket, deadline);
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
  std::vector<uint32_t> bury(uint32_t queue) {
    errand_recount_ = true;
    return burial_.bury(queue);
  }
  // A worker has it, or is to take it: one that popped an env has it before it says so.
  bool is_busy(uint32_t env) const { return state_of(env) != SlotState::kIdle; }
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
    flight_.envs.assign(options_.num_envs, false);
    num_in_flight_ = 0;
    for (const Batch& batch : flight_.batches) ring_->release(batch.block);
    flight_.batches.clear();
    arena().words().next_row.store(batches_taken_ * options_.batch_size, std::memory_order_release);
  }

 private:
  Batch& front() { return flight_.batches.front(); }
  SlotState state_of(uint32_t env) const { return arena().slot(env).state(); }

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

  void open_batch(uint32_t block, uint32_t rows) {
    arena().head(block).open(rows);
    flight_.batches.push_back({block, rows});
  }

  void assign_next_batch() {
    uint32_t block = 0;
    if (!ring_->acquire(&block)) throw_too_many_pending();
    const uint64_t number = batches_taken_ + flight_.batches.size();
    open_batch(block, options_.batch_size);
    for (uint32_t i = 0; i < options_.batch_size; ++i) {
      arena().row_word(block, i).store(free_row(number), std::memory_order_relaxed);
    }
    arena().block_of_batch(number).store(block, std::memory_order_release);
  }

  // Marks the env as in flight. False: there is none, or it is already.
  bool mark(int32_t env) {
    const auto at = static_cast<uint32_t>(env);
    return at < options_.num_envs && std::exchange(flight_.envs[at], uint8_t{true}) == 0;
  }
  // With the env in place `at`, which those before it had nothing against.
  std::string what_is_wrong(const int32_t* envs, size_t at) const {
    const int32_t env = envs[at];
    if (env < 0 || static_cast<uint32_t>(env) >= options_.num_envs) {
      return "env_id " + std::to_string(env) + " is out of range: this pool has envs 0 to " +
             std::to_string(options_.num_envs - 1);
    }
    for (size_t i = 0; i < at; ++i) {
      if (envs[i] == env) return "env_id " + std::to_string(env) + " is there twice; send each env once";
    }
    return "env " + std::to_string(env) + " is still in flight; recv() its result before sending to it again";
  }

  [[noreturn]] void throw_too_many_pending() const {
    throw Fault(FaultKind::kPendingCallError,
                std::to_string(flight_.batches.size()) +
                    " batches are in flight, and that is the limit; recv() first");
  }

  const PoolOptions options_;
  const std::shared_ptr<Engine> engine_;
  const std::shared_ptr<BatchRing> ring_;
  Flight flight_;
  WorkBench bench_;
  Burial burial_{engine_->arena, &flight_, &bench_};
  uint32_t num_in_flight_ = 0;
  uint64_t batches_taken_ = 0;
  std::vector<std::vector<Order>> due_of_queue_;
  std::vector<uint32_t> errand_;
  bool errand_recount_ = false;
  ThreadWorkers workers_;
};

}  // namespace envpool
