// Sleeping on a word. Also compiled with the portable implementation, by test_futex_portable.cc.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "cpp_core/futex.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

TEST(futex_wait_does_not_sleep_when_the_word_changed_before) {
  std::atomic<uint32_t> word{1};
  CHECK_EQ(futex_wait(word, 0, in_milliseconds(check::kPatienceMs)), Wait::kWoken);
}

TEST(futex_wait_keeps_its_deadline) {
  std::atomic<uint32_t> word{7};
  const Deadline deadline = in_milliseconds(20);
  while (futex_wait(word, 7, deadline) != Wait::kTimedOut) CHECK(Clock::now() < deadline);
  CHECK(Clock::now() >= deadline);
}

TEST(futex_wait_until_a_past_time_ends_at_once_even_before_the_clocks_zero) {
  std::atomic<uint32_t> word{7};
  for (const Deadline past :
       {Clock::now(), Deadline{}, Deadline{} - std::chrono::hours(1), Deadline::min()}) {
    CHECK_EQ(futex_wait(word, 7, past), Wait::kTimedOut);
  }
}

TEST(futex_wait_without_end_is_not_taken_for_a_past_deadline) {
  std::atomic<uint32_t> word{0};
  std::atomic<bool> timed_out{false}, woken{false};
  std::thread sleeper([&] {
    while (word.load() == 0) {
      if (futex_wait(word, 0, Deadline::max()) == Wait::kTimedOut) timed_out.store(true);
    }
    woken.store(true);
  });
  CHECK(!check::happens([&] { return timed_out.load(); }, 10));
  word.store(1);
  futex_wake(word, 1);
  CHECK(check::happens([&] { return woken.load(); }));
  sleeper.join();
}

TEST(futex_wake_after_a_change_is_never_lost) {
  constexpr uint32_t kRounds = 500;
  std::atomic<uint32_t> word{0}, seen{0};
  std::thread sleeper([&] {
    for (uint32_t round = 0; round < kRounds; ++round) {
      seen.store(round);
      while (word.load() == round) {
        CHECK(futex_wait(word, round, in_milliseconds(check::kPatienceMs)) != Wait::kTimedOut);
      }
    }
    seen.store(kRounds);
  });
  for (uint32_t round = 0; round < kRounds; ++round) {
    CHECK(check::happens([&] { return seen.load() == round; }));
    word.store(round + 1);
    futex_wake(word, 1);
  }
  CHECK(check::happens([&] { return seen.load() == kRounds; }));
  sleeper.join();
}

TEST(futex_wake_of_all_leaves_no_sleeper) {
  constexpr uint32_t kSleepers = 3, kRounds = 100;
  std::atomic<uint32_t> word{0}, ready{0};
  std::vector<std::thread> sleepers;
  for (uint32_t i = 0; i < kSleepers; ++i) {
    sleepers.emplace_back([&] {
      for (uint32_t round = 0; round < kRounds; ++round) {
        ready.fetch_add(1);
        while (word.load() == round) {
          CHECK(futex_wait(word, round, in_milliseconds(check::kPatienceMs)) != Wait::kTimedOut);
        }
      }
    });
  }
  for (uint32_t round = 0; round < kRounds; ++round) {
    CHECK(check::happens([&] { return ready.load() == kSleepers * (round + 1); }));
    for (int i = 0; i < 10; ++i) std::this_thread::yield();  // most rounds find all asleep; none must
    word.store(round + 1);
    futex_wake(word, UINT32_MAX);
  }
  for (auto& sleeper : sleepers) sleeper.join();
}

#ifdef ENVPOOL_LINUX_FUTEX

TEST(futex_wait_says_when_a_signal_arrived) {
  struct sigaction action{};
  action.sa_handler = [](int) {};  // without SA_RESTART, as Python installs its own
  struct sigaction before{};
  CHECK_EQ(sigaction(SIGUSR1, &action, &before), 0);
  std::atomic<uint32_t> word{0};
  std::atomic<bool> interrupted{false};
  std::thread sleeper([&] {
    while (futex_wait(word, 0, in_milliseconds(check::kPatienceMs)) != Wait::kInterrupted) {
    }
    interrupted.store(true);
  });
  // Again and again: a signal may come before the sleep.
  CHECK(check::happens([&] {
    if (!interrupted.load()) pthread_kill(sleeper.native_handle(), SIGUSR1);
    return interrupted.load();
  }));
  sleeper.join();
  CHECK_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
}

TEST(futex_wake_reaches_a_sleeper_in_another_process) {
  void* page =
      mmap(nullptr, sizeof(std::atomic<uint32_t>), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(page != MAP_FAILED);
  auto* word = new (page) std::atomic<uint32_t>(0);
  const pid_t child = fork();
  CHECK(child >= 0);
  // The word never changes: only a wake that crosses the border ends the sleep before its deadline.
  if (child == 0) _exit(futex_wait(*word, 0, in_milliseconds(check::kPatienceMs)) == Wait::kWoken ? 0 : 1);
  int status = -1;
  CHECK(check::happens([&] {
    futex_wake(*word, 1);
    return waitpid(child, &status, WNOHANG) == child;
  }));
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
  munmap(page, sizeof(std::atomic<uint32_t>));
}

#else

TEST(futex_words_that_share_a_bucket_wake_their_own_sleepers) {
  std::vector<std::atomic<uint32_t>> words(64 * 16 + 1);  // first and last: 64 buckets of 64 bytes apart
  std::atomic<bool> awake{false};
  std::thread sleeper([&] {
    while (words.back().load() == 0) {
      CHECK(futex_wait(words.back(), 0, in_milliseconds(check::kPatienceMs)) != Wait::kTimedOut);
    }
    awake.store(true);
  });
  for (int i = 0; i < 100; ++i) {
    words.front().fetch_add(1);
    futex_wake(words.front(), 1);
  }
  CHECK(!awake.load());
  words.back().store(1);
  futex_wake(words.back(), 1);
  CHECK(check::happens([&] { return awake.load(); }));
  sleeper.join();
}

#endif

}  // namespace
}  // namespace envpool
