// Claiming rows: the part of stepper.h that does something.
#include <cstring>
#include <set>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "cpp_core/stepper.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

// A worker's claim for one env, with the scratch row it needs.
struct Claimer {
  Claimer(Arena& arena, uint32_t env)
      : scratch(arena.layout().scratch_bytes), claim(arena, {env, Request::kStep}, scratch.data()) {}
  std::vector<std::byte> scratch;
  RowClaim claim;
};

// Opens the rows of `block` for async batch number `batch`, as the caller does.
void open_rows(Arena& arena, uint64_t batch, uint32_t block) {
  for (uint32_t row = 0; row < arena.layout().batch_size; ++row) {
    arena.row_word(block, row).store(free_row(batch));
  }
  arena.block_of_batch(batch).store(block);
}

TEST(row_claim_takes_the_callers_row_and_leaves_the_free_ones_alone) {
  const auto engine = fake_engine(4, 4, 3);
  RowClaim claim(engine->arena, {2, Request::kStep, /*block=*/1, /*row=*/3}, nullptr);
  CHECK_EQ(claim.block(), 1);
  CHECK(claim.row().leaf(kEnvId) == engine->arena.row(1, 3).leaf(kEnvId));
  claim.settle();
  CHECK(claim.row().leaf(kEnvId) == engine->arena.row(1, 3).leaf(kEnvId));
  CHECK(&claim.word() == &engine->arena.row_word(1, 3));
  CHECK_EQ(engine->arena.words().next_row.load(), 0);
}

TEST(row_claim_takes_one_free_row_however_often_it_is_asked) {
  const auto engine = fake_engine(4, 2, 3);
  Arena& arena = engine->arena;
  open_rows(arena, 0, 2);
  open_rows(arena, 1, 1);
  const std::pair<uint32_t, uint32_t> expected[] = {{2, 0}, {2, 1}, {1, 0}, {1, 1}};
  for (uint32_t env = 0; env < 4; ++env) {
    Claimer claimer(arena, env);
    RowClaim& claim = claimer.claim;
    CHECK(claim.row().leaf(kEnvId) == claimer.scratch.data());
    CHECK_EQ(arena.words().next_row.load(), env);  // nothing before the env is done
    const auto [block, row] = expected[env];
    for (int again = 0; again < 3; ++again) {
      claim.settle();
      CHECK(claim.row().leaf(kReward) == arena.row(block, row).leaf(kReward));
      CHECK_EQ(claim.block(), block);
      CHECK_EQ(claim.word().load(), claimed_row(env / 2, env));
    }
    CHECK_EQ(arena.words().next_row.load(), env + 1);
  }
}

TEST(row_claim_settles_every_byte_of_the_scratch_row_and_no_byte_of_its_neighbours) {
  const auto engine = fake_engine(4, 3, 2);
  Arena& arena = engine->arena;
  const Layout& layout = arena.layout();
  open_rows(arena, 0, 1);
  arena.words().next_row.store(1);
  Claimer claimer(arena, 0);
  for (uint32_t leaf = 0; leaf < layout.state.size(); ++leaf) {
    std::memset(claimer.claim.row().leaf(leaf), static_cast<int>(leaf + 1),
                static_cast<size_t>(layout.state[leaf].nbytes));
  }
  claimer.claim.settle();
  for (uint32_t row = 0; row < 3; ++row) {
    for (uint32_t leaf = 0; leaf < layout.state.size(); ++leaf) {
      for (int64_t i = 0; i < layout.state[leaf].nbytes; ++i) {
        CHECK_EQ(static_cast<int>(arena.row(1, row).leaf(leaf)[i]), row == 1 ? leaf + 1 : 0);
      }
    }
  }
}

TEST(row_claim_settles_the_finals_of_an_episode_that_ended_and_no_others) {
  for (const bool ended : {false, true}) {
    const auto engine = fake_engine(4, 3, 2, {.autoreset = Autoreset::kSameStep});
    Arena& arena = engine->arena;
    const Layout& layout = arena.layout();
    open_rows(arena, 0, 1);
    Claimer claimer(arena, 0);
    const Row scratch = claimer.claim.row();
    scratch.put<bool>(kDone, ended);
    const uint32_t final_odd = layout.final_of(kFirstObs + 2);
    std::memset(scratch.leaf(kFirstObs + 2), 7, kFakeBytes);
    std::memset(scratch.leaf(final_odd), 9, kFakeBytes);
    claimer.claim.settle();
    for (size_t i = 0; i < kFakeBytes; ++i) {
      CHECK_EQ(static_cast<int>(arena.row(1, 0).leaf(kFirstObs + 2)[i]), 7);
      CHECK_EQ(static_cast<int>(arena.row(1, 0).leaf(final_odd)[i]), ended ? 9 : 0);
    }
  }
}

TEST(row_claim_goes_past_a_row_that_a_dead_worker_claimed_without_counting_it) {
  const auto engine = fake_engine(4, 2, 3);
  Arena& arena = engine->arena;
  open_rows(arena, 0, 0);
  open_rows(arena, 1, 1);
  arena.row_word(0, 0).store(claimed_row(0, 3));  // it died before it could move next_row
  for (const auto& [env, block, row] : {std::tuple(0U, 0U, 1U), std::tuple(1U, 1U, 0U)}) {
    Claimer claimer(arena, env);
    CHECK_EQ(claimer.claim.block(), block);
    CHECK(&claimer.claim.word() == &arena.row_word(block, row));
  }
  CHECK_EQ(arena.row_word(0, 0).load(), claimed_row(0, 3));
}

TEST(row_claim_of_a_stale_claimer_cannot_take_the_same_row_of_a_later_batch) {
  // It read next_row and the block of batch 0 long ago; since then the block was filled, taken, and opened
  // again for a later batch. Its free row says another number.
  for (const uint64_t later : {uint64_t{1}, uint64_t{3}, uint64_t{1} << 31}) {
    const auto engine = fake_engine(4, 2, 3);
    Arena& arena = engine->arena;
    open_rows(arena, later, 0);
    arena.block_of_batch(0).store(0);
    uint64_t expected = free_row(0);
    CHECK(!arena.row_word(0, 0).compare_exchange_strong(expected, claimed_row(0, 1)));
    CHECK_EQ(expected, free_row(later));
  }
  // And it goes on to the batch that is open.
  const auto engine = fake_engine(4, 2, 4);
  Arena& arena = engine->arena;
  open_rows(arena, 2, 3);
  for (const uint64_t gone : {0, 1}) arena.block_of_batch(gone).store(3);
  Claimer claimer(arena, 1);
  CHECK_EQ(claimer.claim.block(), 3);
  CHECK_EQ(claimer.claim.word().load(), claimed_row(2, 1));
  CHECK_EQ(arena.words().next_row.load(), 5);
}

TEST(row_claims_of_many_threads_never_share_a_row) {
  constexpr uint32_t kThreads = 4, kEach = 500, kBatch = 7;
  constexpr uint32_t kBlocks = (kThreads * kEach + kBatch - 1) / kBatch;
  const auto engine = fake_engine(8, kBatch, kBlocks);
  Arena& arena = engine->arena;
  for (uint32_t batch = 0; batch < kBlocks; ++batch) open_rows(arena, batch, kBlocks - 1 - batch);
  std::vector<std::vector<std::byte*>> rows(kThreads);
  std::vector<std::thread> threads;
  for (uint32_t env = 0; env < kThreads; ++env) {
    threads.emplace_back([&arena, &mine = rows[env], env] {
      for (uint32_t i = 0; i < kEach; ++i) {
        Claimer claimer(arena, env);
        claimer.claim.settle();
        CHECK(is_row_of(claimer.claim.word().load(), env));
        mine.push_back(claimer.claim.row().leaf(kEnvId));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<std::byte*> all;
  for (const auto& mine : rows) all.insert(mine.begin(), mine.end());
  CHECK_EQ(all.size(), kThreads * kEach);
  CHECK_EQ(arena.words().next_row.load(), kThreads * kEach);  // and none was left out
}

}  // namespace
}  // namespace envpool
