#include <cmath>
#include <limits>

#include "cpp_core/bounds.h"
#include "tests/cpp/check.h"

namespace envpool {
namespace {

constexpr int64_t kThree[] = {3};

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

EnvpoolLeaf three_of(EnvpoolDType dtype, EnvpoolKind kind = kArray) {
  return {"obs", dtype, kind, 1, kThree, 3, 3 * kDTypes[dtype].itemsize, nullptr, nullptr};
}

template <typename T>
bool within(EnvpoolDType dtype, const std::vector<T>& value, const std::vector<T>& low,
            const std::vector<T>& high) {
  return is_within(three_of(dtype), {bytes_of(low), bytes_of(high), {}, 0}, bytes_of(value).data());
}

template <typename T>
void check_dtype(EnvpoolDType dtype) {
  const auto has = [dtype](const std::vector<T>& value) { return within<T>(dtype, value, {10}, {20}); };
  CHECK(has({10, 20, 15}));
  CHECK(!has({9, 20, 15}));
  CHECK(!has({10, 21, 15}));
  CHECK(!has({10, 20, 21}));
  CHECK(within<T>(dtype, {1, 12, 100}, {0, 11, 99}, {1, 12, 100}));
  CHECK(!within<T>(dtype, {1, 10, 100}, {0, 11, 99}, {1, 12, 100}));
  CHECK(within<T>(dtype, {0, 0, 99}, {}, {99}));
  CHECK(!within<T>(dtype, {0, 0, 100}, {}, {99}));
  CHECK(!within<T>(dtype, {0, 0, 99}, {1}, {}));
}

TEST(every_dtype_is_read_as_itself) {
  check_dtype<int8_t>(kInt8);
  check_dtype<uint8_t>(kUInt8);
  check_dtype<int16_t>(kInt16);
  check_dtype<uint16_t>(kUInt16);
  check_dtype<int32_t>(kInt32);
  check_dtype<uint32_t>(kUInt32);
  check_dtype<int64_t>(kInt64);
  check_dtype<uint64_t>(kUInt64);
  check_dtype<float>(kFloat32);
  check_dtype<double>(kFloat64);
}

TEST(signs_are_those_of_the_dtype) {
  CHECK(within<int8_t>(kInt8, {-128, -1, 0}, {}, {0}));
  CHECK(!within<uint8_t>(kUInt8, {128, 0, 0}, {}, {0}));
  CHECK(within<uint64_t>(kUInt64, {UINT64_MAX, UINT64_MAX, UINT64_MAX}, {UINT64_MAX - 1}, {}));
}

TEST(nan_is_outside_also_of_no_bounds) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(!within<double>(kFloat64, {0, nan, 0}, {}, {}));
  CHECK(!within<double>(kFloat64, {0, nan, 0}, {-1}, {}));
  CHECK(!within<double>(kFloat64, {0, nan, 0}, {}, {1}));
  CHECK(within<double>(kFloat64, {0, INFINITY, -INFINITY}, {}, {}));
  CHECK(!within<float>(kFloat32, {0, NAN, 0}, {}, {}));
  CHECK(!within<uint16_t>(kFloat16, {0, 0x7e00, 0}, {}, {}));
  CHECK(within<uint16_t>(kFloat16, {0, 0x7c00, 0xfc00}, {}, {}));
}

TEST(a_half_is_the_number_that_it_says) {
  const std::pair<uint16_t, float> halves[] = {
      {0x0000, 0.0F},         {0x3c00, 1.0F},      {0xbc00, -1.0F},    {0x3555, 0x1.554p-2F},
      {0x7bff, 65504.0F},     {0xfbff, -65504.0F}, {0x0400, 0x1p-14F}, {0x0001, 0x1p-24F},
      {0x03ff, 0x1.ff8p-15F}, {0x8001, -0x1p-24F}, {0x7c00, INFINITY}, {0xfc00, -INFINITY},
  };
  for (const auto& [bits, value] : halves) CHECK_EQ(static_cast<float>(Half{bits}), value);
  CHECK(std::isnan(static_cast<float>(Half{0x7e00})));
  CHECK(std::isnan(static_cast<float>(Half{0xfc01})));
  CHECK(std::signbit(static_cast<float>(Half{0x8000})));
  // Halves of one sign are ordered as their bits are.
  for (uint16_t bits = 0; bits < 0x7c00; ++bits) {
    CHECK(static_cast<float>(Half{bits}) < static_cast<float>(Half{static_cast<uint16_t>(bits + 1)}));
  }
}

TEST(text_has_its_characters_and_its_least_length) {
  const auto has = [](std::vector<uint32_t> text, int64_t least) {
    return is_within(three_of(kUInt32, kText), {{}, {}, {'a', 'c', 0x1f600}, least}, bytes_of(text).data());
  };
  CHECK(has({'a', 'c', 0x1f600}, 3));
  CHECK(has({'c', 0, 0}, 1));
  CHECK(has({0, 0, 0}, 0));
  CHECK(!has({0, 0, 0}, 1));
  CHECK(!has({'a', 'c', 0}, 3));
  CHECK(!has({'a', 'b', 0}, 0));
  CHECK(!has({0, 'a', 0}, 0));  // what is before the padding counts
}

TEST(a_leaf_without_elements_is_within_anything) {
  EnvpoolLeaf empty = three_of(kFloat32);
  empty.size = empty.nbytes = 0;
  CHECK(is_within(empty, {bytes_of<float>({1}), bytes_of<float>({0}), {}, 0}, nullptr));
}

}  // namespace
}  // namespace envpool
