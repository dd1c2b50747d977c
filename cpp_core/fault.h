// What the engine refuses, by kind; the binding turns each kind into the Python error of that name.
#pragma once

#include <stdexcept>
#include <string>

namespace envpool {

enum class FaultKind {
  kActionError,
  kPendingCallError,
  kNothingPendingError,
  kPoolClosedError,
  kForkedPoolError
};

class Fault : public std::runtime_error {
 public:
  Fault(FaultKind kind, const std::string& message) : std::runtime_error(message), kind(kind) {}
  const FaultKind kind;
};

}  // namespace envpool
