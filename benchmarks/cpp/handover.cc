// Hand-over latency: send one action to an idle worker and receive its result, beside a bare futex ping-pong
// between two threads or processes. Both in one run, in turns, since what a wake-up costs changes with the
// machine's load.
//
// The env does nothing. Rest: the caller stays away for a while between two round trips, so that a worker
// that does not spin is asleep in each.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "cpp_core/env_pool.h"
#include "cpp_core/mem_file.h"

namespace envpool {
namespace {

constexpr int kTurns = 5;  // ping-pong and pool, again and again
constexpr int kRoundsPerTurn = 2000;
constexpr int64_t kMostTurnMs = 500;  // on a busy machine: fewer rounds
constexpr int64_t kRestNs = 5'000;    // less than the spin: a worker that spins is still awake
constexpr int64_t kSpinNs = 200'000;
constexpr int64_t kPatienceMs = 10'000;

class NoopStepper final : public Stepper {
 public:
  std::unique_ptr<Session> open_session() override { return std::make_unique<NoSession>(); }
  Outcome build(uint32_t) override { return Outcome::kOk; }
  Outcome reset(uint32_t, const ResetOrder&, RowClaim& claim, StepFlags*) override { return write(claim); }
  Outcome step(uint32_t, const std::byte*, RowClaim& claim, StepFlags*) override { return write(claim); }
  Outcome apply(uint32_t) override { return Outcome::kOk; }
  Outcome close(uint32_t) override { return Outcome::kOk; }

 private:
  struct NoSession final : Session {
    void enter() override {}
    void leave() override {}
  };
  static Outcome write(RowClaim& claim) {
    claim.row().put<float>(kReward, 1.0F);
    return Outcome::kOk;
  }
};

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::_Exit(1);
}

// The other side of a conversation: a thread, or a process. It ends when the caller tells it to.
class Partner {
 public:
  Partner(bool process, const std::function<void()>& body) {
    if (!process) {
      thread_ = std::thread(body);
      return;
    }
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ < 0) give_up("cannot fork");
    if (pid_ > 0) return;
    alarm(60);
    body();
    _exit(0);
  }
  ~Partner() {
    if (thread_.joinable()) thread_.join();
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
  }
  Partner(const Partner&) = delete;

 private:
  std::thread thread_;
  pid_t pid_ = 0;
};

void rest() {
  const Deadline until = Clock::now() + std::chrono::nanoseconds(kRestNs);
  while (Clock::now() < until) pause_cpu();
}

// Nanoseconds of each round trip.
template <typename RoundTrip>
void measure(const RoundTrip& round_trip, std::vector<int64_t>* into) {
  const Deadline enough = in_milliseconds(kMostTurnMs);
  for (int round = 0; round < kRoundsPerTurn && Clock::now() < enough; ++round) {
    rest();
    const Deadline start = Clock::now();
    round_trip();
    into->push_back(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
  }
}

// Two words, each written by one side.
struct PingPong {
  struct Words {
    alignas(kCacheLine) std::atomic<uint32_t> ping{0};
    alignas(kCacheLine) std::atomic<uint32_t> pong{0};
    alignas(kCacheLine) std::atomic<bool> over{false};
  };

  PingPong(bool process, int64_t spin)
      : spin_ns(spin), partner(process, [this] {
          for (uint32_t turn = 1;; ++turn) {
            await(words->ping, turn);
            if (words->over.load()) return;
            tell(words->pong, turn);
          }
        }) {}
  ~PingPong() {
    words->over.store(true);
    tell(words->ping, ++turn);
  }
  void round_trip() {
    tell(words->ping, ++turn);
    await(words->pong, turn);
  }

 private:
  void await(std::atomic<uint32_t>& word, uint32_t value) const {
    const auto there = [&] { return word.load(std::memory_order_acquire) == value; };
    if (spin_until(there, spin_ns > 0 ? kPatienceMs * 1'000'000 : 0)) return;
    const Deadline deadline = in_milliseconds(kPatienceMs);
    while (!there()) {
      if (futex_wait(word, value - 1, deadline) == Wait::kTimedOut && !there()) give_up("a wake-up is lost");
    }
  }
  // With a spin both sides stay awake, and a bare hand-over is a store: no system call.
  void tell(std::atomic<uint32_t>& word, uint32_t value) const {
    word.store(value, std::memory_order_seq_cst);
    if (spin_ns == 0) futex_wake(word, 1);
  }

  const int64_t spin_ns;
  MemFile file{"ping-pong", sizeof(Words)};
  Mapping mapping{sizeof(Words), file.fd()};
  Words* words = new (mapping.data()) Words;
  uint32_t turn = 0;
  Partner partner;
};

// A pool of one env with one worker, driven as the binding drives it.
class OneEnvPool {
 public:
  OneEnvPool(bool process, int64_t spin_ns) {
    static constexpr int64_t shape[] = {4};
    static constexpr EnvpoolLeaf obs[] = {{"obs", kFloat32, kArray, 1, shape, 4, 16, nullptr, nullptr}};
    Layout layout(1, 1, 1, state_leaves(kFloat32, obs, 1), {scalar_leaf("action", kInt64)});
    layout.set_blocks(4);
    file_ = std::make_unique<MemFile>("arena", layout.total_bytes);
    engine_.reset(new Engine{Arena(std::move(layout), file_->fd()), std::make_unique<NoopStepper>(),
                             EpisodeRules{}, /*timed=*/false});
    if (process)
      worker_ = std::make_unique<Partner>(true, [&] { work(*engine_, 0, spin_ns, engine_->arena.life(0)); });
    pool_ = std::make_unique<EnvPool>(engine_, PoolOptions{1, 1, process ? 0U : 1U, false, spin_ns, -1});
  }
  ~OneEnvPool() {
    pool_->stop_processes();
    if (!pool_->stop_workers(in_milliseconds(kPatienceMs))) give_up("a worker does not end");
    worker_.reset();
  }

  void round_trip() {
    const int32_t env = 0;
    pool_->check_idle(&env, 1);
    *reinterpret_cast<int64_t*>(pool_->arena().action(0)) = 1;
    pool_->submit(Request::kStep, &env, 1);
    pool_->begin_recv();
    const auto ready = [this] { return pool_->front_ready(); };
    while (!ready()) {
      if (pool_->wait(ready, in_milliseconds(kPatienceMs)) == Wait::kTimedOut) give_up("a wake-up is lost");
    }
    pool_->ring()->release(pool_->take_front().block);
  }

 private:
  std::unique_ptr<MemFile> file_;
  std::shared_ptr<Engine> engine_;
  std::unique_ptr<Partner> worker_;
  std::unique_ptr<EnvPool> pool_;
};

double median_us(std::vector<int64_t>& times) {
  const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return static_cast<double>(*middle) * 1e-3;
}

void compare(bool process, int64_t spin_ns) {
  std::vector<int64_t> bare, ours;
  for (int turn = 0; turn < kTurns; ++turn) {
    {
      PingPong ping_pong(process, spin_ns);
      measure([&] { ping_pong.round_trip(); }, &bare);
    }
    OneEnvPool pool(process, spin_ns);
    measure([&] { pool.round_trip(); }, &ours);
  }
  const double one = median_us(bare), other = median_us(ours);
  std::printf("%-8s %-5s %12.2f %12.2f %8.2f\n", process ? "process" : "thread", spin_ns > 0 ? "on" : "off",
              one, other, other / one);
  std::fflush(stdout);
}

}  // namespace
}  // namespace envpool

int main() {
  alarm(60);
  std::printf("Round trips of one action, medians in microseconds\n");
  std::printf("%-8s %-5s %12s %12s %8s\n", "worker", "spin", "bare", "envpool", "ratio");
  for (const bool process : {true, false}) {
    for (const int64_t spin_ns : {int64_t{0}, envpool::kSpinNs}) envpool::compare(process, spin_ns);
  }
}
