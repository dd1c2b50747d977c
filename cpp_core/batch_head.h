// How the rows of a batch are counted, and who is woken when they are all there. Also counts errands.
//
// The caller opens a head for a number of rows; workers count what they have published and wake the caller
// with the last one. A head is opened again, for another round, when its rows are all counted. After a death
// the caller looks at the rows instead of the count, and may open the head before the last worker has
// counted: a count of an earlier round is dropped.
#pragma once

#include <atomic>
#include <cstdint>

#include "cpp_core/leaf.h"
#include "cpp_core/order.h"
#include "cpp_core/park.h"

namespace envpool {

inline constexpr uint32_t kRoundShift = 32;

struct alignas(kCacheLine) BatchHead {
  std::atomic<uint64_t> rows_done;  // and above kRoundShift, the round
  std::atomic<uint32_t> rows_expected;
  std::atomic<uint32_t> failed;  // rows whose env raised
  std::atomic<uint32_t> infos;   // rows with undeclared info

  // To be read before the env is published: until then the head cannot be opened for another round.
  uint64_t round() const { return rows_done.load(std::memory_order_relaxed) >> kRoundShift; }

  // ---- for the caller ----

  void open(uint32_t expected) {
    rows_done.store((round() + 1) << kRoundShift, std::memory_order_relaxed);
    failed.store(0, std::memory_order_relaxed);
    infos.store(0, std::memory_order_relaxed);
    rows_expected.store(expected, std::memory_order_relaxed);
  }
  bool complete() const {
    return static_cast<uint32_t>(rows_done.load(std::memory_order_seq_cst)) >=
           rows_expected.load(std::memory_order_relaxed);
  }
  // Then complete() says nothing any more.
  void wake_at_every_count() { rows_expected.store(0, std::memory_order_seq_cst); }
};

// `caller`: where the caller sleeps.
inline void count_done(BatchHead& head, uint64_t round, Park& caller, uint32_t count = 1) {
  uint64_t done = head.rows_done.load(std::memory_order_relaxed);
  do {
    if (done >> kRoundShift != round) return;
    // seq_cst: pairs with the caller, which changes rows_expected and then looks at rows_done.
  } while (!head.rows_done.compare_exchange_weak(done, done + count, std::memory_order_seq_cst));
  if (static_cast<uint32_t>(done) + count >= head.rows_expected.load(std::memory_order_seq_cst)) {
    caller.notify(1);
  }
}

// The rows that one worker has published and not counted yet, all of one batch. Counting them one by one
// would move the head's line from core to core with each row. In a synchronous pool nobody waits for a part
// of a batch, so they are counted together: when they complete it, before the worker begins with anything
// that is not of this batch, and before it waits. Owned by its worker; whoever goes on without flush() holds
// the batch up.
class Tally {
 public:
  // `at_once`: each row is counted when it is added, as an asynchronous pool needs it.
  explicit Tally(bool at_once) : at_once_(at_once) {}

  // Before the worker begins with something for `block`, or for none: that may take for ever.
  void turn_to(uint32_t block, Park& caller) {
    if (block == block_) return;
    flush(caller);
    block_ = block;
  }
  void add(BatchHead& head, uint64_t round, Park& caller) {
    if (head_ != &head || round_ != round) {
      flush(caller);
      head_ = &head;
      round_ = round;
    }
    ++count_;
    const auto done = static_cast<uint32_t>(head.rows_done.load(std::memory_order_relaxed));
    if (at_once_ || done + count_ >= head.rows_expected.load(std::memory_order_relaxed)) flush(caller);
  }
  void flush(Park& caller) {
    if (count_ > 0) count_done(*head_, round_, caller, count_);
    count_ = 0;
  }

 private:
  const bool at_once_;
  uint32_t block_ = kNoBlock;  // what the worker is at
  BatchHead* head_ = nullptr;
  uint64_t round_ = 0;
  uint32_t count_ = 0;
};

}  // namespace envpool
