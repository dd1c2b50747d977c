// Orders in the sequence in which they were sent, taken by whichever worker is free.
//
// Pusher: the caller, one thread at a time. Takers: any number of workers.
// It cannot overflow: an env is in the queue at most once, and there is a cell for each env.
// A cell is not reused before its taker is done with it: `head` only grows, so a taker that was held up
// between reading a cell and claiming it finds `head` moved, and reads again what may have been two halves of
// different orders. Only wait() waits, until its deadline at the latest; it cannot sleep past an env: see
// park.h; push() stores `tail` seq_cst for it.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "cpp_core/leaf.h"
#include "cpp_core/order.h"
#include "cpp_core/park.h"
#include "cpp_core/spin.h"

namespace envpool {

struct QueueWords {
  alignas(kCacheLine) std::atomic<uint64_t> head{0};
  alignas(kCacheLine) std::atomic<uint64_t> tail{0};
  alignas(kCacheLine) Park park;
};
static_assert(offsetof(QueueWords, tail) - offsetof(QueueWords, head) >= kCacheLine);

struct QueueCell {
  std::atomic<uint64_t> what{0};   // env, request in 8 bits, count
  std::atomic<uint64_t> where{0};  // block, row

  void put(const Order& order) {
    what.store(pack(order.env, static_cast<uint32_t>(order.request) | order.count << kRequestBits),
               std::memory_order_relaxed);
    where.store(pack(order.block, order.row), std::memory_order_relaxed);
  }
  Order get() const {
    const uint64_t first = what.load(std::memory_order_relaxed),
                   second = where.load(std::memory_order_relaxed);
    return {static_cast<uint32_t>(first), static_cast<Request>(first >> 32 & ((1U << kRequestBits) - 1)),
            static_cast<uint32_t>(second), static_cast<uint32_t>(second >> 32),
            static_cast<uint32_t>(first >> (32 + kRequestBits))};
  }

 private:
  static constexpr uint32_t kRequestBits = 8;
  static uint64_t pack(uint32_t low, uint32_t high) { return low | static_cast<uint64_t>(high) << 32; }
};

class EnvQueue {
 public:
  static size_t cells_for(uint32_t num_envs) { return std::bit_ceil(static_cast<size_t>(num_envs)); }

  EnvQueue(QueueWords* words, QueueCell* cells, size_t num_cells)
      : words_(words), cells_(cells), mask_(num_cells - 1) {}

  void push(const Order* orders, size_t count) {
    const uint64_t tail = words_->tail.load(std::memory_order_relaxed);
    for (size_t i = 0; i < count; ++i) cells_[(tail + i) & mask_].put(orders[i]);
    words_->tail.store(tail + count,
                       std::memory_order_seq_cst);  // pairs with empty() in the taker's second look
    words_->park.notify(static_cast<uint32_t>(count));
  }

  bool try_pop(Order* order) {
    uint64_t head = words_->head.load(std::memory_order_acquire);
    while (head != words_->tail.load(std::memory_order_acquire)) {
      const Order found = cells_[head & mask_].get();
      if (words_->head.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel)) {
        *order = found;
        return true;
      }
    }
    return false;
  }

  bool empty() const {
    return words_->head.load(std::memory_order_seq_cst) == words_->tail.load(std::memory_order_seq_cst);
  }

  // How many are due; by the time it is known, it may be fewer.
  uint64_t size() const {
    const uint64_t head = words_->head.load(std::memory_order_relaxed);
    return words_->tail.load(std::memory_order_relaxed) - head;
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
  QueueCell* cells_;
  size_t mask_;
};

}  // namespace envpool
