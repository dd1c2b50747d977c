// A small test library: TEST registers a test, CHECK… judge, and main() runs all, or those named on the line.
//
// Checks may be made on any thread. The first that fails says what it saw and ends the program at once: with
// worker threads inside envs, unwinding would only hang or hide it. A test that does not end is ended too,
// by an alarm that says which one it was; every wait in a test has a deadline of its own besides.
#pragma once

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace check {

using Clock = std::chrono::steady_clock;

inline constexpr int64_t kPatienceMs = 30'000;     // for what must happen
inline constexpr unsigned kMostTestSeconds = 100;  // for one test

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline const char* running = "";

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

template <typename T>
std::string show(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return "#" + show(static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::is_integral_v<T>) {
    return std::to_string(value);
  } else if constexpr (requires(std::ostringstream& out) { out << value; }) {
    std::ostringstream out;
    out << value;
    return out.str();
  } else if constexpr (requires { value.begin(); }) {
    std::string text = "[";
    for (const auto& item : value) text += (text.size() > 1 ? ", " : "") + show(item);
    return text + "]";
  } else {
    return "(no text)";
  }
}

template <typename T>
inline constexpr bool kIsNumber =
    std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>;

template <typename A, typename B>
bool equal(const A& a, const B& b) {
  if constexpr (kIsNumber<A> && kIsNumber<B>) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: in %s\n  %s\n", file, line, running, what.c_str());
  std::fflush(stderr);
  std::_Exit(1);
}

// True as soon as `condition` is; false when it is not within `ms`.
template <typename Condition>
bool happens(const Condition& condition, int64_t ms = kPatienceMs) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(ms);
  while (!condition()) {
    if (Clock::now() >= deadline) return condition();
    std::this_thread::yield();
  }
  return true;
}

inline void out_of_time(int) {
  constexpr char message[] = "out of time: ";
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);
  written = write(STDERR_FILENO, running, std::strlen(running));
  written = write(STDERR_FILENO, "\n", 1);
  _exit(1);
}

inline int run(int count, char** names) {
  std::signal(SIGALRM, out_of_time);
  int ran = 0;
  for (const Test& test : tests()) {
    bool wanted = count == 0;
    for (int i = 0; i < count; ++i) wanted = wanted || std::string(test.name) == names[i];
    if (!wanted) continue;
    ++ran;
    running = test.name;
    const auto start = Clock::now();
    alarm(kMostTestSeconds);
    test.run();
    alarm(0);
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
    std::printf("%6lld ms  %s\n", static_cast<long long>(took.count()), test.name);
    std::fflush(stdout);
  }
  if (ran == 0) std::fprintf(stderr, "no such test\n");
  return ran == 0 ? 1 : 0;
}

}  // namespace check

#define TEST(name)                                                 \
  static void name();                                              \
  static const check::Registration registered_##name(#name, name); \
  static void name()

#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) check::fail(__FILE__, __LINE__, #condition " is false"); \
  } while (false)

#define CHECK_EQ(left, right)                                                                       \
  do {                                                                                              \
    const auto check_a = (left);                                                                    \
    const auto check_b = (right);                                                                   \
    if (!check::equal(check_a, check_b)) {                                                          \
      check::fail(__FILE__, __LINE__,                                                               \
                  #left " is " + check::show(check_a) + ", " #right " is " + check::show(check_b)); \
    }                                                                                               \
  } while (false)

#define CHECK_THROWS(expression, Exception)                                                  \
  do {                                                                                       \
    bool check_thrown = false;                                                               \
    try {                                                                                    \
      expression;                                                                            \
    } catch (const Exception&) {                                                             \
      check_thrown = true;                                                                   \
    }                                                                                        \
    if (!check_thrown) check::fail(__FILE__, __LINE__, #expression " threw no " #Exception); \
  } while (false)

int main(int argc, char** argv) { return check::run(argc - 1, argv + 1); }
