// Claiming rows: the part of stepper.h that does something.
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "cpp_core/stepper.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

TEST(row_claim_takes_the_callers_row_and_leaves_the_free_ones_alone) {
  const auto engine = fake_engine(4, 4, 3);
  Slot& slot = engine->arena.slot(2);
  slot.block = 1;
  slot.row = 3;
  RowClaim claim(engine->arena, slot);
  CHECK_EQ(claim.block(), 1);
  CHECK(claim.row().leaf(kEnvId) == engine->arena.row(1, 3).leaf(kEnvId));
  CHECK_EQ(engine->arena.words().next_row.load(), 0);
}

TEST(row_claim_takes_one_free_row_however_often_it_is_asked) {
  const auto engine = fake_engine(4, 2, 3);
  Arena& arena = engine->arena;
  arena.block_of_batch(0).store(2);
  arena.block_of_batch(1).store(1);
  const std::pair<uint32_t, uint32_t> expected[] = {{2, 0}, {2, 1}, {1, 0}, {1, 1}};
  for (uint32_t env = 0; env < 4; ++env) {
    arena.slot(env).block = kNoBlock;
    RowClaim claim(arena, arena.slot(env));
    CHECK_EQ(arena.words().next_row.load(), env);  // nothing before it is asked
    for (int again = 0; again < 3; ++again) {
      CHECK(claim.row().leaf(kReward) == arena.row(expected[env].first, expected[env].second).leaf(kReward));
      CHECK_EQ(claim.block(), expected[env].first);
    }
    CHECK_EQ(arena.words().next_row.load(), env + 1);
  }
}

TEST(row_claims_of_many_threads_never_share_a_row) {
  constexpr uint32_t kThreads = 4, kEach = 500, kBatch = 7;
  constexpr uint32_t kBlocks = (kThreads * kEach + kBatch - 1) / kBatch;
  const auto engine = fake_engine(8, kBatch, kBlocks);
  Arena& arena = engine->arena;
  for (uint32_t batch = 0; batch < kBlocks; ++batch) arena.block_of_batch(batch).store(kBlocks - 1 - batch);
  for (uint32_t env = 0; env < kThreads; ++env) arena.slot(env).block = kNoBlock;
  std::vector<std::vector<std::byte*>> rows(kThreads);
  std::vector<std::thread> threads;
  for (uint32_t env = 0; env < kThreads; ++env) {
    threads.emplace_back([&arena, &mine = rows[env], env] {
      for (uint32_t i = 0; i < kEach; ++i)
        mine.push_back(RowClaim(arena, arena.slot(env)).row().leaf(kEnvId));
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<std::byte*> all;
  for (const auto& mine : rows) all.insert(mine.begin(), mine.end());
  CHECK_EQ(all.size(), kThreads * kEach);
}

}  // namespace
}  // namespace envpool
