// Turns callgrind's counting on and off from inside.
#include <valgrind/callgrind.h>

extern "C" void start_counting() {
  CALLGRIND_START_INSTRUMENTATION;
  CALLGRIND_ZERO_STATS;
}

// Writes what was counted to the next output file, under this title.
extern "C" void stop_counting(const char* title) {
  CALLGRIND_DUMP_STATS_AT(title);
  CALLGRIND_STOP_INSTRUMENTATION;
}
