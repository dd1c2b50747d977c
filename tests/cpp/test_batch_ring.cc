#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "cpp_core/batch_ring.h"
#include "tests/cpp/check.h"
#include "tests/cpp/check_table.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

uint32_t acquire(BatchRing& ring) {
  uint32_t block = UINT32_MAX;
  CHECK(ring.acquire(&block));
  CHECK(block < ring.size());
  return block;
}

constexpr BatchState kStates[] = {BatchState::kFree, BatchState::kFilling, BatchState::kHeld};
constexpr BatchEvent kEvents[] = {BatchEvent::kAcquire, BatchEvent::kHold, BatchEvent::kRelease};

constexpr auto kNone = std::optional<BatchState>();
constexpr auto kFree = std::optional(BatchState::kFree);
constexpr auto kFilling = std::optional(BatchState::kFilling);
constexpr auto kHeld = std::optional(BatchState::kHeld);

// Where each (state, event) must lead, written down a second time; nothing: refused.
constexpr std::optional<BatchState> kExpected[3][3] = {
    //             kAcquire  kHold  kRelease
    /* kFree */ {kFilling, kNone, kNone},
    /* kFilling */ {kNone, kHeld, kFree},
    /* kHeld */ {kNone, kNone, kFree},
};

TEST(batch_table_allows_what_is_written_here_and_refuses_the_rest_unchanged) {
  check_table(kBatchTransitions, kStates, kEvents, kExpected);
}

TEST(batch_goes_round_as_the_table_says) {
  BatchRing ring(fake_engine(2, 2, 6)->arena, 2);
  const uint32_t held = acquire(ring), copied = acquire(ring);
  CHECK_EQ(ring.state(held), BatchState::kFilling);
  CHECK(ring.try_hold(held));
  CHECK_EQ(ring.state(held), BatchState::kHeld);
  CHECK_EQ(ring.state(copied), BatchState::kFilling);
  for (const uint32_t block : {held, copied}) {
    ring.release(block);
    CHECK_EQ(ring.state(block), BatchState::kFree);
  }
  CHECK_EQ(ring.held(), 0);
}

TEST(batch_that_may_not_be_held_stays_as_it_was) {
  BatchRing ring(fake_engine(2, 2, 2)->arena, 2);
  const uint32_t block = acquire(ring);
  CHECK(!ring.try_hold(block));
  CHECK_EQ(ring.state(block), BatchState::kFilling);
}

TEST(batch_ring_uses_the_block_again_that_came_back_last) {
  BatchRing ring(fake_engine(2, 2, 6)->arena, 2);
  const uint32_t a = acquire(ring), b = acquire(ring), c = acquire(ring);
  ring.release(a);
  ring.release(c);
  ring.release(b);
  CHECK_EQ(acquire(ring), b);
  CHECK_EQ(acquire(ring), c);
  CHECK_EQ(acquire(ring), a);
  CHECK_EQ(ring.touched(), 3);
}

TEST(batch_ring_of_batches_dropped_at_once_touches_one_block) {
  BatchRing ring(fake_engine(2, 2, 6)->arena, 2);
  for (int i = 0; i < 100; ++i) {
    const uint32_t block = acquire(ring);
    CHECK(ring.try_hold(block));
    ring.release(block);
  }
  CHECK_EQ(ring.touched(), 1);
  CHECK_EQ(ring.held(), 0);
}

TEST(batch_ring_grows_to_its_bound_and_no_further) {
  BatchRing ring(fake_engine(2, 2, 6)->arena, 2);
  std::set<uint32_t> blocks;
  for (uint32_t i = 0; i < 6; ++i) blocks.insert(acquire(ring));
  CHECK_EQ(blocks.size(), 6);
  uint32_t block = 77;
  CHECK(!ring.acquire(&block));
  CHECK_EQ(block, 77);
  ring.release(4);
  CHECK_EQ(acquire(ring), 4);
  CHECK(!ring.acquire(&block));
  CHECK_EQ(ring.touched(), 6);
}

TEST(batch_ring_never_lends_its_reserve) {
  BatchRing ring(fake_engine(2, 2, 7)->arena, 3);
  for (uint32_t i = 0; i < 4; ++i) {
    CHECK(ring.try_hold(acquire(ring)));
  }
  CHECK_EQ(ring.held(), 4);
  // The user holds all that may be held, and yet three batches can be in flight, again and again.
  for (int round = 0; round < 5; ++round) {
    const uint32_t flying[] = {acquire(ring), acquire(ring), acquire(ring)};
    CHECK(!ring.try_hold(flying[round % 3]));
    for (const uint32_t block : flying) ring.release(block);
  }
  ring.release(0);
  CHECK(ring.try_hold(acquire(ring)));
  CHECK(!ring.try_hold(acquire(ring)));
}

TEST(batch_ring_that_is_all_reserve_lends_nothing) {
  BatchRing ring(fake_engine(2, 2, 2)->arena, 2);
  CHECK(!ring.try_hold(acquire(ring)));
  BatchRing smaller(fake_engine(2, 2, 2)->arena, 5);
  CHECK(!smaller.try_hold(acquire(smaller)));
}

TEST(batch_ring_size_follows_the_bytes_between_its_bounds) {
  const uint32_t most = BatchRing::kMostBlocks;
  CHECK_EQ(BatchRing::blocks_for(100, 3, 1000), 3 + 10);
  CHECK_EQ(BatchRing::blocks_for(100, 3, 0), 3 + 2);  // one to look at, one to keep
  CHECK_EQ(BatchRing::blocks_for(size_t{1} << 40, 1, 1 << 20), 1 + 2);
  CHECK_EQ(BatchRing::blocks_for(1, 16, SIZE_MAX), 16 + most);
  CHECK_EQ(BatchRing::blocks_for(0, 16, 1 << 20), 16 + most);
}

TEST(batch_ring_takes_blocks_back_from_any_thread_and_lends_none_twice) {
  constexpr uint32_t kBatches = 6000, kHolders = 3, kReserve = 2;
  const auto engine = fake_engine(2, 2, 12);
  BatchRing ring(engine->arena, kReserve);
  std::mutex mutex;
  std::vector<uint32_t> handed;  // blocks on their way to a holder
  std::atomic<bool> over{false};
  std::vector<std::thread> holders;
  for (uint32_t i = 0; i < kHolders; ++i) {
    holders.emplace_back([&] {
      while (true) {
        uint32_t block = kNoBlock;
        {
          std::lock_guard lock(mutex);
          if (handed.empty() && over.load()) return;
          if (!handed.empty()) {
            block = handed.back();
            handed.pop_back();
          }
        }
        if (block == kNoBlock) {
          std::this_thread::yield();
          continue;
        }
        // Plain reads, ordered only by the ring: tsan sees whether the next writer waits for them.
        const FakeRow row = read_row(ring.arena().row(block, 0));
        CHECK_EQ(row.elapsed_step, static_cast<int32_t>(row.obs.t));
        ring.release(block);
      }
    });
  }
  uint32_t copies = 0;
  for (uint32_t batch = 0; batch < kBatches; ++batch) {
    const uint32_t block = acquire(ring);
    const Row row = ring.arena().row(block, 0);
    row.put<int32_t>(kElapsedStep, static_cast<int32_t>(batch));
    const FakeObs obs{0, 0, batch, 0};
    std::memcpy(row.obs(0), &obs, sizeof(obs));
    CHECK_EQ(read_row(row).obs, obs);
    if (ring.try_hold(block)) {
      std::lock_guard lock(mutex);
      handed.push_back(block);
    } else {
      ++copies;
      ring.release(block);
    }
  }
  over.store(true);
  for (auto& holder : holders) holder.join();
  CHECK_EQ(ring.held(), 0);
  CHECK(ring.touched() <= ring.size());
  CHECK(copies < kBatches);
  // Every block came back exactly once.
  std::set<uint32_t> all;
  for (uint32_t i = 0; i < ring.size(); ++i) all.insert(acquire(ring));
  CHECK_EQ(all.size(), ring.size());
}

TEST(batch_ring_keeps_the_memory_for_whoever_holds_it) {
  auto engine = fake_engine(2, 2, 4);
  auto ring = std::make_shared<BatchRing>(engine->arena, 1);
  engine.reset();
  const uint32_t block = acquire(*ring);
  CHECK(ring->try_hold(block));
  std::byte* data = ring->arena().block(block);
  std::shared_ptr<BatchRing> array = ring;  // what each array handed out does
  ring.reset();
  std::memset(data, 1, array->arena().layout().block_bytes);
  std::thread([array = std::move(array), block]() mutable {
    array->release(block);
    array.reset();
  }).join();
}

}  // namespace
}  // namespace envpool
