#include <atomic>
#include <thread>
#include <vector>

#include "cpp_core/row_word.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

constexpr uint32_t kEnvs[] = {0, 1, 2, 1000, (1U << 31) - 2};
constexpr uint64_t kBatches[] = {0, 1, 77, UINT32_MAX};

TEST(row_word_of_zero_bytes_is_a_free_row_of_the_first_batch) { CHECK_EQ(free_row(0), 0); }

TEST(row_word_tells_free_claimed_and_published_rows_of_every_env_and_batch_apart) {
  for (const uint64_t batch : kBatches) {
    CHECK(!is_published(free_row(batch)));
    for (const uint32_t env : kEnvs) {
      const uint64_t claimed = claimed_row(batch, env), published = published_row(claimed);
      CHECK(!is_published(claimed));
      CHECK(is_published(published));
      CHECK(!is_row_of(free_row(batch), env));
      for (const uint32_t other : kEnvs) {
        CHECK_EQ(is_row_of(claimed, other), env == other);
        CHECK_EQ(is_row_of(published, other), env == other);
      }
      for (const uint64_t other : kBatches) {
        CHECK_EQ(claimed_row(other, env) == claimed, batch == other);
        CHECK_EQ(free_row(other) == free_row(batch), batch == other);
        CHECK(free_row(other) != claimed && free_row(other) != published);
      }
    }
  }
}

TEST(row_word_raced_for_by_two_workers_is_won_by_one_and_says_which) {
  constexpr uint64_t kRounds = 2000;
  RowWord word{free_row(0)};
  std::atomic<uint64_t> round{0}, arrived{0};
  std::vector<std::vector<bool>> won(2, std::vector<bool>(kRounds));
  std::vector<uint64_t> seen(kRounds);
  const auto race = [&](uint32_t env) {
    for (uint64_t batch = 0; batch < kRounds; ++batch) {
      CHECK(check::happens([&] { return round.load() == batch; }));
      uint64_t expected = free_row(batch);
      won[env][batch] = word.compare_exchange_strong(expected, claimed_row(batch, env));
      if (!won[env][batch]) CHECK_EQ(expected, claimed_row(batch, 1 - env));
      if (arrived.fetch_add(1) % 2 == 0) continue;
      seen[batch] = word.load();
      word.store(free_row(batch + 1));  // the row is opened again for the next batch
      round.store(batch + 1);
    }
  };
  std::thread other(race, 1U);
  race(0);
  other.join();
  for (uint64_t batch = 0; batch < kRounds; ++batch) {
    CHECK(won[0][batch] != won[1][batch]);
    CHECK_EQ(seen[batch], claimed_row(batch, won[0][batch] ? 0 : 1));
  }
}

}  // namespace
}  // namespace envpool
