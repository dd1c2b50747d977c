// Worker threads of one pool: started together, stopped together.
//
// start(), add() and stop() are called by the pool's owner, one thread at a time. stop() returns at its
// deadline at the latest: a thread whose env does not return cannot be ended, so it is left behind with
// everything it needs (the engine is leaked with it), and stop() says so.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

#include "cpp_core/worker.h"

namespace envpool {

template <typename Engine>
class ThreadWorkers {
 public:
  ThreadWorkers() = default;
  ~ThreadWorkers() { stop(in_milliseconds(kIdleMs)); }  // for an owner that could not be made
  ThreadWorkers(const ThreadWorkers&) = delete;

  // affinity_offset < 0: no pinning; else worker i is pinned to the (offset + i)-th of the cores
  // that this process may use, counted round and round.
  // When the system refuses a thread, those that started are stopped and its error is thrown.
  void start(const std::shared_ptr<Engine>& engine, uint32_t count, int64_t spin_ns,
             int32_t affinity_offset) {
    threads_.reserve(count);
    try {
      for (uint32_t i = 0; i < count; ++i) add(engine, spin_ns, affinity_offset);
    } catch (...) {
      stop(in_milliseconds(kIdleMs));
      throw;
    }
  }

  // One more. When the system refuses it, its error is thrown, and the others go on.
  void add(const std::shared_ptr<Engine>& engine, int64_t spin_ns, int32_t affinity_offset) {
    engine_ = engine;
    if (threads_.empty()) roll_ = std::make_shared<Roll>();
    roll_->sign_on();
    try {
      const uint32_t queue = engine->queue_of_thread(static_cast<uint32_t>(threads_.size()));
      threads_.emplace_back([engine, queue, spin_ns, roll = roll_] {
        WorkerLife life{};
        work(*engine, queue, spin_ns, life);
        roll->sign_off();
      });
    } catch (...) {
      roll_->sign_off();
      throw;
    }
    adopt(threads_.back(), static_cast<uint32_t>(threads_.size() - 1), affinity_offset);
  }

  // False: a thread is still inside an env and was left behind.
  bool stop(Deadline deadline) {
    if (threads_.empty()) return true;
    engine_->arena.words().stop.store(true, std::memory_order_seq_cst);  // pairs with EnvQueue::wait
    for (uint32_t queue = 0; queue < engine_->arena.layout().num_queues; ++queue) {
      engine_->arena.queue(queue).wake_all();
    }
    const bool all = roll_->wait(deadline);
    for (auto& thread : threads_) all ? thread.join() : thread.detach();
    threads_.clear();
    if (!all) new std::shared_ptr<Engine>(engine_);  // never freed: the thread may come back to it
    return all;
  }

  // In a forked child, where the threads do not exist: forgets them without touching them.
  void forget() {
    new std::vector<std::thread>(std::move(threads_));  // never destroyed: that would join or terminate
    threads_.clear();
  }

  size_t size() const { return threads_.size(); }

 private:
  struct Roll {
    std::mutex mutex;
    std::condition_variable left;
    uint32_t running = 0;

    void sign_on() {
      std::lock_guard lock(mutex);
      ++running;
    }
    void sign_off() {
      std::lock_guard lock(mutex);
      --running;
      left.notify_all();
    }
    bool wait(Deadline deadline) {
      std::unique_lock lock(mutex);
      return left.wait_until(lock, deadline, [this] { return running == 0; });
    }
  };

  static void adopt([[maybe_unused]] std::thread& thread, [[maybe_unused]] uint32_t index,
                    [[maybe_unused]] int32_t offset) {
#ifdef __linux__
    const std::string name = "envpool-" + std::to_string(index);
    pthread_setname_np(thread.native_handle(), name.substr(0, 15).c_str());
    if (offset < 0) return;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
    std::vector<int> cores;
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &allowed)) cores.push_back(core);
    }
    cpu_set_t chosen;
    CPU_ZERO(&chosen);
    CPU_SET(cores[(static_cast<uint32_t>(offset) + index) % cores.size()], &chosen);
    pthread_setaffinity_np(thread.native_handle(), sizeof(chosen), &chosen);
#endif
  }

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Roll> roll_;
  std::vector<std::thread> threads_;
};

}  // namespace envpool
