// A second process: a fork of the test that runs `body` and exits with 0. It never outlives this object, nor
// the test.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>

#include "tests/cpp/check.h"

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace envpool {

class Child {
 public:
  explicit Child(const std::function<void()>& body) {
    std::fflush(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ > 0) return;
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (getppid() != parent) _exit(1);
    body();
    _exit(0);
  }
  ~Child() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;

  // Waits for its end: true when it exited with 0.
  bool ends_well() {
    int status = -1;
    CHECK(check::happens([&] { return waitpid(pid_, &status, WNOHANG) == pid_; }));
    pid_ = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  pid_t pid_ = 0;
};

}  // namespace envpool
