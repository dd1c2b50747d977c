#include <cstdint>
#include <optional>
#include <utility>

#include "cpp_core/seeds.h"
#include "tests/cpp/check.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

Arena small_arena() {
  Layout layout = fake_layout(3, 3);
  layout.set_blocks(1);
  return Arena(std::move(layout));
}

TEST(seed_is_for_the_next_reset_of_its_env_and_of_no_other) {
  const Arena arena = small_arena();
  Seeds seeds(arena);
  seeds.set(1, INT64_MAX);
  CHECK_EQ(arena.slot(1).seed, INT64_MAX);
  for (uint32_t env = 0; env < 3; ++env) {
    CHECK_EQ(arena.slot(env).reseed, env == 1);
    CHECK(seeds.of(env) == (env == 1 ? std::optional(INT64_MAX) : std::nullopt));
  }
}

TEST(seed_is_given_again_to_an_env_that_was_built_anew) {
  const Arena arena = small_arena();
  Seeds seeds(arena);
  for (uint32_t env = 0; env < 2; ++env) {
    if (env == 1) seeds.set(env, 7);
    arena.slot(env).reseed = false;  // as the worker does, when it has given it
    seeds.give_again(env);
    CHECK_EQ(arena.slot(env).reseed, env == 1);
  }
  CHECK_EQ(arena.slot(1).seed, 7);
}

TEST(seed_that_is_taken_back_is_not_given) {
  const Arena arena = small_arena();
  Seeds seeds(arena);
  seeds.set(2, 7);
  seeds.set(2, std::nullopt);
  CHECK(!arena.slot(2).reseed);
  seeds.give_again(2);
  CHECK(!arena.slot(2).reseed);
  CHECK(!seeds.of(2).has_value());
}

}  // namespace
}  // namespace envpool
