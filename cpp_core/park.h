// A place to sleep until a condition holds: an event count, usable in shared memory.
//
// Sleeper:   for (;;) { if (condition) break; auto ticket = park.prepare();
//                       if (condition) { park.cancel(); break; } park.sleep(ticket, deadline); }
// Notifier:  make the condition true with a seq_cst operation; park.notify(n);
//
// No wake-up is lost: prepare() announces the sleeper (seq_cst) before the second look at the condition, and
// the notifier changes the condition (seq_cst) before it looks for sleepers. In the one total order of
// seq_cst operations either the sleeper sees the condition or the notifier sees the sleeper; and a notify
// between the second look and the sleep changes epoch_, so the sleep returns at once. A release store for the
// condition would lose wake-ups: it may pass the load in notify().
// notify() costs one load when nobody sleeps. Any number of sleepers and notifiers.
#pragma once

#include <atomic>
#include <cstdint>

#include "cpp_core/futex.h"

namespace envpool {

class Park {
 public:
  uint32_t prepare() {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);  // pairs with the load in notify()
    return epoch_.load(std::memory_order_seq_cst);
  }

  void cancel() { sleepers_.fetch_sub(1, std::memory_order_relaxed); }

  Wait sleep(uint32_t ticket, Deadline deadline) {
    const Wait how = futex_wait(epoch_, ticket, deadline);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
    return how;
  }

  void notify(uint32_t count) {
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;  // pairs with prepare()
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    futex_wake(epoch_, count);
  }

  // When the only process that slept here is dead: it is not a sleeper any more.
  void bury_sleepers() { sleepers_.store(0, std::memory_order_seq_cst); }

 private:
  std::atomic<uint32_t> epoch_{0};
  std::atomic<uint32_t> sleepers_{0};
};

}  // namespace envpool
