// Ends this process when the one that started it ends, however that happened.
//
// A thread of its own polls a pidfd of the parent: unlike a parent-death signal, that does not fire when only
// the thread that started us ends, and unlike a pipe it cannot be held open by a grandchild. The whole
// process group goes, with whatever the envs have started. The thread is never joined: it lives as long as
// the process.
#pragma once

#ifdef __linux__

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <thread>

namespace envpool {

inline constexpr int kWatchMs = 1000;

inline void end_with_parent(pid_t parent) {
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, parent, 0));
  const auto end_group = [] {
    if (getpgrp() == getpid()) kill(0, SIGKILL);
    _exit(1);
  };
  if (getppid() != parent) end_group();  // it ended before we looked
  std::thread([pidfd, parent, end_group] {
    pollfd watched{pidfd, POLLIN, 0};
    // Without a pidfd (an old kernel), the poll is only a pause between looks at the parent's id.
    while (poll(&watched, pidfd >= 0 ? 1 : 0, kWatchMs) <= 0 && getppid() == parent) {
    }
    end_group();
  }).detach();
}

}  // namespace envpool

#endif
