// Which values a leaf may have, and whether a row has others.
//
// Bounds are inclusive and in the leaf's own dtype, so that a value that was cast into its leaf is compared
// with a bound that was cast in the same way. NaN is outside of all bounds, also where there are none.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "cpp_core/leaf.h"

namespace envpool {

struct Bounds {
  // One value for all elements, or one for each; empty: no bound.
  std::vector<std::byte> low;
  std::vector<std::byte> high;
  // Of text: what it may be made of, sorted, and how short it may be.
  std::vector<uint32_t> characters;
  int64_t min_length = 0;
};

// IEEE 754's half, which C++20 has no type for.
struct Half {
  uint16_t bits;

  operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
    const uint32_t exponent = bits >> 10 & 0x1FU;
    const uint32_t fraction = bits & 0x3FFU;
    if (exponent == 0) {  // zero and the subnormal numbers: fraction * 2^-24
      const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
      return sign != 0 ? -magnitude : magnitude;
    }
    const uint32_t wide = exponent == 0x1F ? 0xFFU : exponent + (127 - 15);
    const uint32_t word = sign | wide << 23 | fraction << 13;
    float value = 0;
    std::memcpy(&value, &word, sizeof(value));
    return value;
  }
};

// Without branches in the loops, so that the compiler can look at several elements at once.
template <typename T>
bool numbers_within(const EnvpoolLeaf& leaf, const Bounds& bounds, const std::byte* row) {
  using Number = std::conditional_t<std::is_same_v<T, Half>, float, T>;
  const auto* values = reinterpret_cast<const T*>(row);
  const auto size = static_cast<size_t>(leaf.size);
  const auto all = [&](const std::vector<std::byte>& of, const auto& holds) {
    const auto* bound = reinterpret_cast<const T*>(of.data());
    const size_t stride = of.size() > sizeof(T) ? 1 : 0;
    bool within = true;
    for (size_t i = 0; i < size; ++i) within &= holds(Number(values[i]), Number(bound[i * stride]));
    return within;
  };
  bool within = true;
  if (!bounds.low.empty()) within &= all(bounds.low, [](Number value, Number low) { return value >= low; });
  if (!bounds.high.empty())
    within &= all(bounds.high, [](Number value, Number high) { return value <= high; });
  if (std::is_floating_point_v<Number> && bounds.low.empty() && bounds.high.empty()) {
    for (size_t i = 0; i < size; ++i) within &= Number(values[i]) == Number(values[i]);
  }
  return within;
}

inline bool text_within(const EnvpoolLeaf& leaf, const Bounds& bounds, const std::byte* row) {
  const auto* characters = reinterpret_cast<const uint32_t*>(row);
  const int64_t length = text_length(leaf, row);
  return length >= bounds.min_length && std::all_of(characters, characters + length, [&](uint32_t character) {
           return std::binary_search(bounds.characters.begin(), bounds.characters.end(), character);
         });
}

inline constexpr std::array<bool (*)(const EnvpoolLeaf&, const Bounds&, const std::byte*), kNumDTypes>
    kNumbersWithin = {
        numbers_within<uint8_t>,  // bool, as it is stored
        numbers_within<int8_t>,  numbers_within<uint8_t>,  numbers_within<int16_t>, numbers_within<uint16_t>,
        numbers_within<int32_t>, numbers_within<uint32_t>, numbers_within<int64_t>, numbers_within<uint64_t>,
        numbers_within<Half>,    numbers_within<float>,    numbers_within<double>,
};

// Whether one row's value of `leaf` is within `bounds`.
inline bool is_within(const EnvpoolLeaf& leaf, const Bounds& bounds, const std::byte* row) {
  if (leaf.kind == kText) return text_within(leaf, bounds, row);
  return kNumbersWithin[static_cast<size_t>(leaf.dtype)](leaf, bounds, row);
}

}  // namespace envpool
