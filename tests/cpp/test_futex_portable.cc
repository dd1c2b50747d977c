// What sleeps on a futex, over again with the condition variables that stand in where there is no Linux.
#define ENVPOOL_PORTABLE_FUTEX
#include "tests/cpp/test_env_queue.cc"
#include "tests/cpp/test_futex.cc"
#include "tests/cpp/test_park.cc"
