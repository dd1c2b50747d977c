#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpp_core/forks.h"
#include "tests/cpp/check.h"
#include "tests/cpp/child.h"

extern char** environ;

namespace envpool {
namespace {

TEST(forks_child_knows_that_it_is_a_fork_and_its_parent_that_it_made_one) {
  const uint32_t made = Forks::counts().made, generation = Forks::counts().generation;
  for (uint32_t round = 1; round <= 3; ++round) {
    Child child([&] {
      CHECK_EQ(Forks::counts().generation.load(), generation + 1);
      CHECK_EQ(Forks::counts().made.load(), made + round - 1);  // none of its own
      Child grandchild([&] { CHECK_EQ(Forks::counts().generation.load(), generation + 2); });
      CHECK(grandchild.ends_well());
      CHECK_EQ(Forks::counts().made.load(), made + round);
      CHECK_EQ(Forks::counts().generation.load(), generation + 1);
    });
    CHECK(child.ends_well());
    CHECK_EQ(Forks::counts().made.load(), made + round);
    CHECK_EQ(Forks::counts().generation.load(), generation);
  }
}

TEST(forks_counts_no_program_that_was_started) {
  const uint32_t made = Forks::counts().made;
  const char* arguments[] = {"true", nullptr};
  pid_t pid = 0;
  CHECK_EQ(posix_spawnp(&pid, "true", nullptr, nullptr, const_cast<char**>(arguments), environ), 0);
  int status = -1;
  CHECK(check::happens([&] { return waitpid(pid, &status, WNOHANG) == pid; }));
  CHECK(WIFEXITED(status));
  CHECK_EQ(Forks::counts().made.load(), made);
}

}  // namespace
}  // namespace envpool
