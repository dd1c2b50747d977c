// CartPole written by hand in C++, and what a kernel's functions cost: the limits of pools of compiled envs.
//
// The loop steps a batch of envs on some threads, each with its own share, and writes what a pool writes; the
// threads wait for each other after each batch, awake. Nothing is checked, chosen or handed to anybody.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "cpp_core/module_abi.h"
#include "cpp_core/spin.h"

namespace {

using Clock = std::chrono::steady_clock;

struct CartPole {
  double x, x_dot, theta, theta_dot;
  uint64_t random;
  int32_t elapsed;
  bool over;

  double draw() {
    random = random * 6364136223846793005U + 1442695040888963407U;
    return static_cast<double>(random >> 11) * 0x1p-53 * 0.1 - 0.05;
  }
  void reset() {
    x = draw();
    x_dot = draw();
    theta = draw();
    theta_dot = draw();
    elapsed = 0;
    over = false;
  }
  bool step(int64_t action) {
    const double force = action == 1 ? 10.0 : -10.0;
    const double cosine = std::cos(theta), sine = std::sin(theta);
    const double temp = (force + 0.05 * theta_dot * theta_dot * sine) / 1.1;
    const double theta_acc = (9.8 * sine - cosine * temp) / (0.5 * (4.0 / 3.0 - 0.1 * cosine * cosine / 1.1));
    const double x_acc = temp - 0.05 * theta_acc * cosine / 1.1;
    x += 0.02 * x_dot;
    x_dot += 0.02 * x_acc;
    theta += 0.02 * theta_dot;
    theta_dot += 0.02 * theta_acc;
    ++elapsed;
    return x < -2.4 || x > 2.4 || theta < -0.20943951023931953 || theta > 0.20943951023931953;
  }
};

// What a pool writes of a batch.
struct Batch {
  explicit Batch(size_t n)
      : obs(4 * n),
        reward(n),
        discount(n),
        env_id(n),
        elapsed(n),
        step_type(n),
        terminated(n),
        truncated(n),
        done(n),
        trunc(n) {}
  std::vector<float> obs, reward, discount;
  std::vector<int32_t> env_id, elapsed, step_type;
  std::vector<uint8_t> terminated, truncated, done, trunc;
};

class Loop {
 public:
  Loop(size_t num_envs, size_t num_threads)
      : envs_(num_envs), batches_{Batch(num_envs), Batch(num_envs)}, num_threads_(num_threads) {
    for (size_t i = 0; i < num_envs; ++i) {
      envs_[i].random = i + 1;
      envs_[i].reset();
    }
  }

  // Seconds for so many batches; `actions` has `kinds` of them.
  double run(const int64_t* actions, size_t kinds, size_t times) {
    begun_.store(0);
    for (auto& done : done_) done.store(0);
    std::vector<std::thread> others;
    for (size_t which = 1; which < num_threads_; ++which) {
      others.emplace_back([=, this] {
        for (size_t batch = 0; batch < times; ++batch) {
          while (begun_.load(std::memory_order_acquire) <= batch) envpool::pause_cpu();
          step(which, actions + batch % kinds * envs_.size(), batch);
          done_[which].store(batch + 1, std::memory_order_release);
        }
      });
    }
    const auto start = Clock::now();
    for (size_t batch = 0; batch < times; ++batch) {
      begun_.store(batch + 1, std::memory_order_release);
      step(0, actions + batch % kinds * envs_.size(), batch);
      for (size_t which = 1; which < num_threads_; ++which) {
        while (done_[which].load(std::memory_order_acquire) <= batch) envpool::pause_cpu();
      }
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    for (auto& thread : others) thread.join();
    return seconds;
  }

 private:
  void step(size_t which, const int64_t* actions, size_t batch) {
    Batch& to = batches_[batch % 2];
    const size_t first = which * envs_.size() / num_threads_,
                 last = (which + 1) * envs_.size() / num_threads_;
    for (size_t i = first; i < last; ++i) {
      CartPole& env = envs_[i];
      const bool is_reset = env.over;
      bool terminated = false;
      if (is_reset) {
        env.reset();
      } else {
        terminated = env.step(actions[i]);
      }
      const bool truncated = env.elapsed >= 500;
      env.over = terminated || truncated;
      const float obs[] = {static_cast<float>(env.x), static_cast<float>(env.x_dot),
                           static_cast<float>(env.theta), static_cast<float>(env.theta_dot)};
      std::memcpy(&to.obs[4 * i], obs, sizeof(obs));
      to.reward[i] = is_reset ? 0.0F : 1.0F;
      to.terminated[i] = terminated;
      to.truncated[i] = truncated;
      to.done[i] = env.over;
      to.trunc[i] = truncated && !terminated;
      to.discount[i] = terminated ? 0.0F : 1.0F;
      to.env_id[i] = static_cast<int32_t>(i);
      to.elapsed[i] = env.elapsed;
      to.step_type[i] = env.over ? 2 : is_reset ? 0 : 1;
    }
  }

  std::vector<CartPole> envs_;
  Batch batches_[2];
  const size_t num_threads_;
  alignas(64) std::atomic<size_t> begun_{0};
  alignas(64) std::atomic<size_t> done_[64]{};
};

}  // namespace

extern "C" void* cart_pole_make(size_t num_envs, size_t num_threads) {
  return new Loop(num_envs, num_threads);
}
extern "C" double cart_pole_run(void* loop, const int64_t* actions, size_t kinds, size_t times) {
  return static_cast<Loop*>(loop)->run(actions, kinds, times);
}
extern "C" void cart_pole_free(void* loop) { delete static_cast<Loop*>(loop); }

// The step function of a module's kernel, called for env after env, and its reset where an episode ends: the
// hooks and nothing else. One leaf of observation, of `obs_bytes`. Seconds, or -1 if a hook raised.
extern "C" double kernel_run(const EnvpoolModule* module, unsigned char* records, size_t num_envs,
                             const unsigned char* actions, size_t kinds, size_t action_bytes, size_t times) {
  const EnvpoolKernel& kernel = *module->kernel;
  const size_t obs_bytes = static_cast<size_t>(module->obs[0].nbytes);
  std::vector<unsigned char> obs(num_envs * obs_bytes), reward(num_envs * 8), terminated(num_envs),
      truncated(num_envs);
  void* error = nullptr;
  bool failed = false;
  const auto start = Clock::now();
  for (size_t batch = 0; batch < times; ++batch) {
    const unsigned char* from = actions + batch % kinds * num_envs * action_bytes;
    for (size_t i = 0; i < num_envs; ++i) {
      unsigned char* leaves[] = {&reward[4 * i], &terminated[i], &truncated[i], &obs[obs_bytes * i]};
      unsigned char* record = records + i * kernel.state_bytes;
      failed |= kernel.step(record, from + i * action_bytes, leaves, &error) != 0;
      if (terminated[i] || truncated[i]) failed |= kernel.reset(record, leaves, &error) != 0;
    }
  }
  return failed ? -1.0 : std::chrono::duration<double>(Clock::now() - start).count();
}
