// Memory without a name, and arenas that lie in it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "cpp_core/arena.h"
#include "cpp_core/mem_file.h"
#include "tests/cpp/check.h"
#include "tests/cpp/child.h"
#include "tests/cpp/fake_stepper.h"

namespace envpool {
namespace {

#ifdef __linux__

TEST(mem_file_has_its_size_starts_as_zeros_and_is_not_left_open_for_programs) {
  const MemFile file("test", 5000);
  struct stat status{};
  CHECK_EQ(fstat(file.fd(), &status), 0);
  CHECK_EQ(status.st_size, 5000);
  CHECK_EQ(status.st_nlink, 0);  // no name: nothing to leave behind
  CHECK((fcntl(file.fd(), F_GETFD) & FD_CLOEXEC) != 0);
  const Mapping mapping(5000, file.fd());
  for (size_t i = 0; i < 5000; ++i) CHECK(mapping.data()[i] == std::byte{0});
}

TEST(mem_file_gives_its_descriptor_back) {
  int first = -1;
  for (int i = 0; i < 50; ++i) {
    const MemFile file("test", 100);
    if (i == 0) first = file.fd();
    CHECK_EQ(file.fd(), first);
  }
}

#ifndef __SANITIZE_ADDRESS__  // the checks of undefined behaviour beside it need a descriptor themselves

TEST(mem_file_without_a_descriptor_left_is_refused_with_the_systems_error) {
  rlimit before{};
  CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const MemFile last("test", 100);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(last.fd());
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  int code = 0;
  try {
    const MemFile file("test", 100);
  } catch (const std::system_error& error) {
    code = error.code().value();
  }
  CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  CHECK_EQ(code, EMFILE);
}

#endif

TEST(mem_file_of_an_impossible_size_is_refused_and_keeps_no_descriptor) {
  const int next = [] { return MemFile("test", 1).fd(); }();
  CHECK_THROWS(MemFile("test", SIZE_MAX), std::system_error);
  CHECK_EQ(MemFile("test", 1).fd(), next);
}

TEST(mapping_outlives_the_descriptor_it_was_made_of) {
  std::unique_ptr<Mapping> mapping;
  {
    const MemFile file("test", 4096);
    mapping = std::make_unique<Mapping>(4096, file.fd());
  }
  std::memset(mapping->data(), 1, 4096);
  CHECK(mapping->data()[4095] == std::byte{1});
}

TEST(mapping_of_no_file_is_refused_as_bad_alloc) { CHECK_THROWS(Mapping(4096, 1 << 20), std::bad_alloc); }

Layout shared_layout() {
  Layout layout = fake_layout(4, 2, 2);
  layout.set_blocks(3);
  return layout;
}

TEST(arena_in_a_file_is_the_same_memory_at_two_addresses) {
  const Layout layout = shared_layout();
  const MemFile file("test", layout.total_bytes);
  const Arena one(layout, file.fd()), other(layout, file.fd());
  CHECK(&one.words() != &other.words());
  const Order orders[] = {{3, Request::kStep}, {2, Request::kStep}};
  one.queue(1).push(orders, 2);
  for (const Order& expected : orders) {
    Order order;
    CHECK(other.queue(1).try_pop(&order));
    CHECK_EQ(order.env, expected.env);
  }
  CHECK(one.queue(1).empty());
  CHECK(other.queue(0).empty());
  other.row(2, 1).put<int32_t>(kEnvId, 12345);
  CHECK_EQ(read_row(one.row(2, 1)).env_id, 12345);
}

TEST(arena_in_a_file_is_seen_by_a_process_that_inherits_it_and_outlives_that_process) {
  const Layout layout = shared_layout();
  const MemFile file("test", layout.total_bytes);
  const Arena arena(layout, file.fd());
  std::memset(arena.action(3), 7, layout.action_bytes);
  Child child([&] {
    const Arena mine(layout, file.fd());
    for (size_t i = 0; i < layout.action_bytes; ++i) CHECK(mine.action(3)[i] == std::byte{7});
    mine.row(1, 0).put<int32_t>(kElapsedStep, -9);
    mine.row_word(1, 0).store(published_row(claimed_row(0, 3)));
  });
  CHECK(check::happens([&] { return is_published(arena.row_word(1, 0).load(std::memory_order_acquire)); }));
  CHECK_EQ(read_row(arena.row(1, 0)).elapsed_step, -9);
  CHECK(child.ends_well());
  CHECK_EQ(read_row(arena.row(1, 0)).elapsed_step, -9);
}

TEST(arena_in_private_memory_is_a_copy_in_a_fork) {
  const auto engine = fake_engine(2, 2, 2);
  Child child([&] { engine->arena.words().next_row.store(99); });
  CHECK(child.ends_well());
  CHECK_EQ(engine->arena.words().next_row.load(), 0);
}

#endif

}  // namespace
}  // namespace envpool
