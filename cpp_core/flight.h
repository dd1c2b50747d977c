// What is on its way: which envs were sent and not received yet, and the batches that their rows fill.
//
// The caller's thread only; in its private memory. Synchronous (batch_size == num_envs): each send opens a
// batch of its own. Asynchronous: there are always as many batches open as the envs in flight may fill, so a
// worker that has a result finds a row for it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpp_core/batch_ring.h"
#include "cpp_core/fault.h"
#include "cpp_core/futex.h"
#include "cpp_core/spin.h"

namespace envpool {

// A batch in flight.
struct Batch {
  uint32_t block;
  uint32_t rows;
  bool recount = false;  // a worker died: the count may be short, the row words tell
};

// A batch that is complete: `rows` rows of `block`.
struct ReadyBatch {
  uint32_t block;
  uint32_t rows;
  bool failed;
  bool infos;
};

class Flight {
 public:
  // How many batches can be in flight: what the ring must keep back from the user.
  static uint32_t most_batches(uint32_t num_envs, uint32_t batch_size) {
    if (batch_size < num_envs) return (num_envs + batch_size - 1) / batch_size + 1;
    return std::min(num_envs, kMostPendingSends);
  }
  static constexpr uint32_t kMostPendingSends = 16;

  explicit Flight(const Arena& arena)
      : lost(arena.layout().num_envs, false),
        arena_(arena),
        ring_(std::make_shared<BatchRing>(arena, most_batches(num_envs(), batch_size()))),
        envs_(num_envs(), false) {}

  std::deque<Batch> batches;
  // By env, a byte (a vector of bools packs them): its worker died while it was idle in the middle of an
  // episode, so its next step fails, and needs no worker.
  std::vector<uint8_t> lost;

  uint32_t num_envs() const { return arena_.layout().num_envs; }
  uint32_t batch_size() const { return arena_.layout().batch_size; }
  bool is_async() const { return arena_.layout().is_async(); }
  const std::shared_ptr<BatchRing>& ring() const { return ring_; }
  uint32_t num_in_flight() const { return num_in_flight_; }
  bool has(uint32_t env) const { return envs_[env]; }

  // Throws kActionError, and changes nothing, unless every id is in range, idle, and there once.
  void check_idle(const int32_t* envs, size_t count) {
    size_t marked = 0;
    while (marked < count && mark(envs[marked])) ++marked;
    for (size_t i = 0; i < marked; ++i) envs_[static_cast<size_t>(envs[i])] = false;
    if (marked < count) throw Fault(FaultKind::kActionError, what_is_wrong(envs, marked));
  }

  // Throws kPendingCallError when one of these envs is in flight. Ids that are none are check_idle()'s
  // affair.
  void refuse_in_flight(const std::vector<int32_t>& envs) const {
    for (const int32_t env : envs) {
      if (env < 0 || static_cast<uint32_t>(env) >= num_envs() || !has(static_cast<uint32_t>(env))) continue;
      throw Fault(FaultKind::kPendingCallError,
                  "env " + std::to_string(env) + " is in flight; recv() its result first");
    }
  }

  // Throws kPendingCallError when a synchronous pool has a batch that was sent and not received.
  void refuse_pending() const {
    if (batches.empty() || is_async()) return;
    throw Fault(FaultKind::kPendingCallError,
                std::to_string(batches.size()) + " sent batch(es) not received yet; recv() first");
  }

  // Throws kPendingCallError when no more batches may be in flight.
  void check_room() const {
    if (!is_async() && !ring_->has_room()) throw_too_many_pending();
  }

  // The block for a synchronous batch of so many rows; none in an asynchronous pool, which opens its own.
  uint32_t open(uint32_t rows) {
    if (is_async()) return kNoBlock;
    uint32_t block = 0;
    if (!ring_->acquire(&block)) throw_too_many_pending();
    open_batch(block, rows);
    return block;
  }

  // Counts envs as sent. `opened(block, number)`: called for each batch that an asynchronous pool opens for
  // their rows, before a worker may find it.
  void add(uint32_t env) { envs_[env] = true; }
  template <typename Opened>
  void added(uint32_t count, const Opened& opened) {
    num_in_flight_ += count;
    while (is_async() && batches.size() * batch_size() < num_in_flight_) {
      uint32_t block = 0;
      if (!ring_->acquire(&block)) throw_too_many_pending();
      const uint64_t number = batches_taken_ + batches.size();
      open_batch(block, batch_size());
      opened(block, number);
      arena_.block_of_batch(number).store(block, std::memory_order_release);
    }
  }
  void add_all() { std::fill(envs_.begin(), envs_.end(), uint8_t{true}); }

  // Makes the front batch one that can be received.
  void begin_recv() {
    if (batches.empty()) {
      throw Fault(FaultKind::kNothingPendingError,
                  "recv() with nothing in flight; send(), reset() or async_reset() first");
    }
    if (!is_async()) return;
    // A short batch: fewer envs are in flight than a batch has rows. seq_cst: pairs with publish().
    Batch& front = batches.front();
    front.rows = std::min(batch_size(), num_in_flight_);
    if (front.recount) return;
    arena_.head(front.block).rows_expected.store(front.rows, std::memory_order_seq_cst);
  }

  // The front batch, which must be ready. Its envs are idle again.
  ReadyBatch take_front() {
    const Batch batch = batches.front();
    batches.pop_front();
    ++batches_taken_;
    if (is_async() && batch.rows < batch_size()) {
      // Nothing else is in flight, so no worker is about to take a row: the next batch starts a block.
      arena_.words().next_row.store(batches_taken_ * batch_size(), std::memory_order_release);
    }
    if (batch.rows == num_envs()) {
      std::fill(envs_.begin(), envs_.end(), uint8_t{false});
    } else {
      const auto* ids = reinterpret_cast<int32_t*>(arena_.row(batch.block, 0).leaf(kEnvId));
      for (uint32_t i = 0; i < batch.rows; ++i) envs_[static_cast<uint32_t>(ids[i])] = false;
    }
    num_in_flight_ -= batch.rows;
    const BatchHead& head = arena_.head(batch.block);
    return {batch.block, batch.rows, head.failed.load(std::memory_order_relaxed) > 0,
            head.infos.load(std::memory_order_relaxed) > 0};
  }

  // Everything sent is forgotten, and so is what was waiting to be received.
  void forget() {
    std::fill(envs_.begin(), envs_.end(), uint8_t{false});
    num_in_flight_ = 0;
    for (const Batch& batch : batches) ring_->release(batch.block);
    batches.clear();
    arena_.words().next_row.store(batches_taken_ * batch_size(), std::memory_order_release);
  }

 private:
  void open_batch(uint32_t block, uint32_t rows) {
    arena_.head(block).open(rows);
    batches.push_back({block, rows});
  }

  // Marks the env as in flight. False: there is none, or it is already.
  bool mark(int32_t env) {
    const auto at = static_cast<uint32_t>(env);
    return at < num_envs() && std::exchange(envs_[at], uint8_t{true}) == 0;
  }
  // With the env in place `at`, which those before it had nothing against.
  std::string what_is_wrong(const int32_t* envs, size_t at) const {
    const int32_t env = envs[at];
    if (env < 0 || static_cast<uint32_t>(env) >= num_envs()) {
      return "env_id " + std::to_string(env) + " is out of range: this pool has envs 0 to " +
             std::to_string(num_envs() - 1);
    }
    for (size_t i = 0; i < at; ++i) {
      if (envs[i] == env) return "env_id " + std::to_string(env) + " is there twice; send each env once";
    }
    return "env " + std::to_string(env) + " is still in flight; recv() its result before sending to it again";
  }

  [[noreturn]] void throw_too_many_pending() const {
    throw Fault(
        FaultKind::kPendingCallError,
        std::to_string(batches.size()) + " batches are in flight, and that is the limit; recv() first");
  }

  const Arena arena_;
  const std::shared_ptr<BatchRing> ring_;
  std::vector<uint8_t> envs_;  // sent, and not received yet
  uint32_t num_in_flight_ = 0;
  uint64_t batches_taken_ = 0;
};

// What to say of envs that cannot be stepped, since nothing but the caller resets them.
inline Fault no_episode(const std::string& envs) {
  return Fault(FaultKind::kActionError,
               "env_id " + envs + ": no episode is going on (it ended, or none began), and " +
                   "autoreset_mode is 'disabled'; reset(env_id=[" + envs + "]) first");
}

// The caller spins, then sleeps, until `ready()` may have become true, a signal, or the deadline.
template <typename Ready>
Wait wait_for_rows(const Arena& arena, const Ready& ready, int64_t spin_ns, Deadline deadline) {
  if (spin_until(ready, spin_ns)) return Wait::kWoken;
  Park& park = arena.words().caller;
  const uint32_t ticket = park.prepare();
  if (ready()) {
    park.cancel();
    return Wait::kWoken;
  }
  return park.sleep(ticket, deadline);
}

}  // namespace envpool
