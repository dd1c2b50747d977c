// Due envs in the order they were sent, taken by whichever worker is free.
//
// Pusher: the caller, one thread at a time. Takers: any number of workers.
// It cannot overflow: an env is in the queue at most once, and there is a cell for each env.
// A cell is not reused before its taker is done with it: `head` only grows, so a taker that was held up
// between reading a cell and claiming it finds `head` moved and reads again. A taker cannot sleep past an
// env: see park.h; push() stores `tail` seq_cst for it.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "cpp_core/leaf.h"
#include "cpp_core/park.h"
#include "cpp_core/spin.h"

namespace envpool {

struct QueueWords {
  alignas(kCacheLine) std::atomic<uint64_t> head{0};
  alignas(kCacheLine) std::atomic<uint64_t> tail{0};
  alignas(kCacheLine) Park park;
};
static_assert(offsetof(QueueWords, tail) - offsetof(QueueWords, head) >= kCacheLine);

class EnvQueue {
 public:
  static size_t cells_for(uint32_t num_envs) { return std::bit_ceil(static_cast<size_t>(num_envs)); }

  EnvQueue(QueueWords* words, std::atomic<uint32_t>* cells, size_t num_cells)
      : words_(words), cells_(cells), mask_(num_cells - 1) {}

  void push(const uint32_t* envs, size_t count) {
    const uint64_t tail = words_->tail.load(std::memory_order_relaxed);
    for (size_t i = 0; i < count; ++i) {
      cells_[(tail + i) & mask_].store(envs[i], std::memory_order_relaxed);
    }
    words_->tail.store(tail + count,
                       std::memory_order_seq_cst);  // pairs with empty() in the taker's second look
    words_->park.notify(static_cast<uint32_t>(count));
  }

  bool try_pop(uint32_t* env) {
    uint64_t head = words_->head.load(std::memory_order_acquire);
    while (head != words_->tail.load(std::memory_order_acquire)) {
      const uint32_t found = cells_[head & mask_].load(std::memory_order_relaxed);
      if (words_->head.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel)) {
        *env = found;
        return true;
      }
    }
    return false;
  }

  bool empty() const {
    return words_->head.load(std::memory_order_seq_cst) == words_->tail.load(std::memory_order_seq_cst);
  }

  // Spins, then sleeps, until something is due, `stop` is set, or the deadline passed. Spurious returns are
  // allowed.
  void wait(const std::atomic<bool>& stop, int64_t spin_ns, Deadline deadline) {
    const auto awake = [&] { return !looks_empty() || stop.load(std::memory_order_relaxed); };
    if (spin_until(awake, spin_ns)) return;
    const uint32_t ticket = words_->park.prepare();
    if (!empty() || stop.load(std::memory_order_seq_cst)) {
      words_->park.cancel();
      return;
    }
    words_->park.sleep(ticket, deadline);
  }

  // For a queue whose only taker is dead: nothing in it will be taken.
  void bury_taker() {
    words_->park.bury_sleepers();
    words_->head.store(words_->tail.load(std::memory_order_relaxed), std::memory_order_release);
  }

  // After `stop` was set with a seq_cst store.
  void wake_all() { words_->park.notify(UINT32_MAX); }

 private:
  bool looks_empty() const {
    return words_->head.load(std::memory_order_relaxed) == words_->tail.load(std::memory_order_relaxed);
  }

  QueueWords* words_;
  std::atomic<uint32_t>* cells_;
  size_t mask_;
};

}  // namespace envpool
