// How often this process forked, and whether it is itself a fork.
//
// Counted by handlers that the C library runs in fork(), in the thread that forks; vfork and exec do not
// count, so starting a program through them is free. The counters are read from any thread.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace envpool {

struct Forks {
  std::atomic<uint32_t> made{0};        // by this process, since it started
  std::atomic<uint32_t> generation{0};  // how many forks lie between the first process and this one

  static Forks& counts() {
    static Forks& forks = *new Forks;  // never destroyed: arrays may die after everything else
    static const int registered = pthread_atfork(
        nullptr, [] { counts().made.fetch_add(1, std::memory_order_relaxed); },
        [] { counts().generation.fetch_add(1, std::memory_order_relaxed); });
    static_cast<void>(registered);
    return forks;
  }
};

}  // namespace envpool
