#include <cstring>
#include <set>
#include <utility>

#include "cpp_core/arena.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

Arena small_arena() {
  Layout layout = fake_layout(5, 3);
  layout.set_blocks(4);
  return Arena(std::move(layout));
}

TEST(arena_starts_as_zeros_which_is_idle_and_empty) {
  const Arena arena = small_arena();
  for (uint32_t env = 0; env < 5; ++env) CHECK_EQ(arena.slot(env).state(), SlotState::kIdle);
  CHECK(arena.queue(0).empty());
  CHECK(!arena.words().stop.load());
  const auto* bytes = reinterpret_cast<const unsigned char*>(&arena.words());
  for (size_t i = 0; i < arena.layout().total_bytes; ++i) CHECK_EQ(bytes[i], 0);
}

TEST(arena_rows_and_actions_are_wholly_their_own) {
  const Arena arena = small_arena();
  const Layout& layout = arena.layout();
  // Fill every place with a number of its own; then each must still hold it.
  for (const bool write : {true, false}) {
    uint8_t mark = 0;
    const auto visit = [&](std::byte* at, size_t bytes) {
      ++mark;
      if (write) std::memset(at, mark, bytes);
      for (size_t i = 0; i < bytes; ++i) CHECK_EQ(static_cast<uint8_t>(at[i]), mark);
    };
    for (uint32_t env = 0; env < 5; ++env) visit(arena.action(env), layout.action_bytes);
    for (uint32_t block = 0; block < 4; ++block) {
      for (uint32_t row = 0; row < 3; ++row) {
        for (uint32_t leaf = 0; leaf < layout.state.size(); ++leaf) {
          visit(arena.row(block, row).leaf(leaf), static_cast<size_t>(layout.state[leaf].nbytes));
        }
      }
    }
  }
  for (uint32_t env = 0; env < 5; ++env) CHECK_EQ(arena.slot(env).state(), SlotState::kIdle);
  for (uint32_t block = 0; block < 4; ++block) CHECK_EQ(arena.head(block).rows_done.load(), 0);
  CHECK(arena.queue(0).empty());
}

TEST(arena_rows_of_a_leaf_are_one_contiguous_array) {
  const Arena arena = small_arena();
  for (uint32_t leaf = 0; leaf < arena.layout().state.size(); ++leaf) {
    for (uint32_t row = 1; row < 3; ++row) {
      const auto gap = arena.row(2, row).leaf(leaf) - arena.row(2, row - 1).leaf(leaf);
      CHECK_EQ(gap, arena.layout().state[leaf].nbytes);
    }
  }
  CHECK(arena.row(1, 1).obs(0) == arena.row(1, 1).leaf(kFirstObs));
}

TEST(arena_gives_consecutive_batches_different_words_for_their_block) {
  const Arena arena = small_arena();
  for (uint64_t first : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 40}) {
    std::set<const void*> words;
    for (uint64_t batch = first; batch < first + 4; ++batch) words.insert(&arena.block_of_batch(batch));
    CHECK_EQ(words.size(), 4);
  }
}

TEST(arena_too_large_for_the_machine_is_refused_as_bad_alloc) {
  CHECK_THROWS(Mapping(size_t{1} << 62), std::bad_alloc);
}

}  // namespace
}  // namespace envpool
