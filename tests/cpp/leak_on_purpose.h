// While one of these lives, what is allocated on this thread may leak without the address sanitizer's
// protest.
#pragma once

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

namespace envpool {

class LeakOnPurpose {
 public:
#ifdef __SANITIZE_ADDRESS__
  LeakOnPurpose() { __lsan_disable(); }
  ~LeakOnPurpose() { __lsan_enable(); }
#else
  LeakOnPurpose() {}
  ~LeakOnPurpose() {}
#endif
  LeakOnPurpose(const LeakOnPurpose&) = delete;
};

}  // namespace envpool
