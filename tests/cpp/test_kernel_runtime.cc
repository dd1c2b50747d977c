// What compiled hooks call: temporary memory, exceptions, reshapes.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "cpp_core/kernel_runtime.h"
#include "tests/cpp/check.h"

namespace envpool::kernel {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kBegins = size_t{1} << 16;  // what an arena begins with

// Memory that is written to its last byte, and says whether it still is as it was.
struct Piece {
  unsigned char* memory;
  size_t bytes;
  int filler;

  Piece(Arena& arena, size_t its_bytes, int its_filler)
      : memory(static_cast<unsigned char*>(arena.take(its_bytes))), bytes(its_bytes), filler(its_filler) {
    CHECK_EQ(reinterpret_cast<uintptr_t>(memory) % kLine, 0);
    std::memset(memory, filler, bytes);
  }
  bool intact() const {
    return std::all_of(memory, memory + bytes, [this](unsigned char byte) { return byte == filler; });
  }
};

TEST(pieces_of_a_call_are_apart_and_aligned_whatever_their_sizes) {
  Arena arena;
  for (int call = 0; call < 3; ++call) {
    std::vector<Piece> pieces;
    for (const size_t bytes : {size_t{1}, size_t{0}, kLine, kLine + 1, kBegins - 4 * kLine, size_t{1},
                               kBegins, 2 * kBegins + 1, size_t{7}}) {
      pieces.emplace_back(arena, bytes, static_cast<int>(pieces.size()) + 1);
    }
    for (const Piece& piece : pieces) CHECK(piece.intact());
    arena.empty();
  }
}

TEST(an_arena_that_has_grown_to_a_call_holds_it_in_one_block) {
  const auto sizes = {kBegins, kLine, 3 * kBegins, kBegins + 1};
  const auto addresses = [&](Arena& arena) {
    std::vector<unsigned char*> found;
    for (const size_t bytes : sizes) found.push_back(static_cast<unsigned char*>(arena.take(bytes)));
    arena.empty();
    return found;
  };
  Arena arena;
  addresses(arena);
  const auto grown = addresses(arena);
  size_t before = 0;
  for (size_t i = 0; i < grown.size(); ++i) {
    CHECK_EQ(grown[i] - grown[0], before);
    before += *(sizes.begin() + i);
  }
  CHECK_EQ(addresses(arena), grown);
}

TEST(an_arena_that_is_exactly_full_takes_no_byte_more_from_its_block) {
  Arena arena;
  const Piece all(arena, kBegins, 1);
  const Piece more(arena, 1, 2);
  CHECK(all.intact() && (more.memory < all.memory || more.memory >= all.memory + kBegins));
}

TEST(an_arena_may_end_before_it_is_emptied) {
  Arena arena;
  for (int i = 0; i < 3; ++i) arena.take(kBegins);  // the address sanitizer tells what is left behind
}

TEST(however_much_other_threads_raise_each_keeps_what_it_raised_last) {
  std::vector<std::thread> threads;
  for (int64_t thread = 0; thread < 8; ++thread) {
    threads.emplace_back([thread] {
      for (int round = 0; round < 100; ++round) {
        std::vector<const EnvpoolRaised*> last;
        for (int64_t i = 0; i < kSlots; ++i) {
          auto* one = static_cast<EnvpoolRaised*>(envpool_kernel_raise("it"));
          envpool_kernel_value(one, thread);
          envpool_kernel_value(one, i);
          envpool_kernel_trace(one, "line");
          last.push_back(one);
        }
        for (int64_t i = 0; i < kSlots; ++i) {
          CHECK_EQ(last[i]->num_values, 2);
          CHECK_EQ(last[i]->num_lines, 1);
          CHECK_EQ(last[i]->values[0], thread);
          CHECK_EQ(last[i]->values[1], i);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(an_exception_keeps_as_many_values_and_lines_as_it_has_room_for) {
  auto* one = static_cast<EnvpoolRaised*>(envpool_kernel_raise("it"));
  for (int64_t i = 0; i < 2 * EnvpoolRaised::kMaxLines; ++i) {
    envpool_kernel_value(one, i);
    envpool_kernel_trace(one, i == 0 ? "innermost" : "further out");
  }
  CHECK_EQ(one->num_values, EnvpoolRaised::kMaxValues);
  CHECK_EQ(one->num_lines, EnvpoolRaised::kMaxLines);
  CHECK_EQ(one->values[0], 0);
  CHECK_EQ(one->values[EnvpoolRaised::kMaxValues - 1], EnvpoolRaised::kMaxValues - 1);
  CHECK_EQ(std::string(one->lines[0]), "innermost");
}

using Numbers = std::vector<intptr_t>;

// New strides for an array of 8-byte items without a copy; none: it has to be copied.
Numbers reshaped(const Numbers& shape, const Numbers& strides, const Numbers& to, bool fortran = false) {
  Numbers found(to.size());
  const auto axes = [](const Numbers& numbers) { return static_cast<intptr_t>(numbers.size()); };
  const bool can = numba_attempt_nocopy_reshape(axes(shape), shape.data(), strides.data(), axes(to),
                                                to.data(), found.data(), /*itemsize=*/8, fortran) != 0;
  return can ? found : Numbers{};
}

TEST(an_array_in_c_order_has_strides_for_every_shape) {
  CHECK((reshaped({6}, {8}, {2, 3}) == Numbers{24, 8}));
  CHECK((reshaped({2, 3}, {24, 8}, {6}) == Numbers{8}));
  CHECK((reshaped({4, 1, 3}, {24, 999, 8}, {2, 6}) == Numbers{48, 8}));  // of one item, no stride is wrong
}

TEST(other_arrays_have_to_be_copied) {
  CHECK((reshaped({2, 3}, {8, 16}, {6}).empty()));
  CHECK((reshaped({3}, {16}, {3}).empty()));
  CHECK((reshaped({3}, {8}, {3}, /*fortran=*/true).empty()));
}

}  // namespace
}  // namespace envpool::kernel
