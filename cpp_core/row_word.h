// The word of one row in a block: free, claimed by an env, or published.
//
// In an asynchronous pool any worker may claim a free row, by one compare-and-swap that writes which env has
// it; in a synchronous one the caller claims rows before it sends. Only the env's worker publishes the row,
// with a release store that the caller's acquire load of the word, or of the batch's count, sees; when that
// worker is dead the caller does it in its place. So it is known at any moment whose row each one is. The
// number of the batch is part of the word: a worker that was held up between finding a row and claiming it
// cannot claim the same row of a later batch.
#pragma once

#include <atomic>
#include <cstdint>

namespace envpool {

using RowWord = std::atomic<uint64_t>;
static_assert(RowWord::is_always_lock_free, "row words are shared between processes");

constexpr uint64_t free_row(uint64_t batch) { return batch << 32; }
constexpr uint64_t claimed_row(uint64_t batch, uint32_t env) {
  return free_row(batch) | (static_cast<uint64_t>(env) + 1) << 1;
}
constexpr uint64_t published_row(uint64_t claimed) { return claimed | 1; }
constexpr bool is_published(uint64_t word) { return (word & 1) != 0; }
// Whether `env` claimed the row, published or not.
constexpr bool is_row_of(uint64_t word, uint32_t env) {
  return (static_cast<uint32_t>(word) >> 1) == env + 1;
}

}  // namespace envpool
