// Writes msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md), of it what messages need.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

class Msgpack {
 public:
  // Beyond `room` bytes nothing is written, only counted.
  Msgpack(unsigned char* out, int64_t room) : out_(out), room_(room) {}

  int64_t size() const { return size_; }

  void array(uint32_t n) { n < 16 ? tag(0x90 | n) : tagged(0xdd, n); }
  void map(uint32_t n) { n < 16 ? tag(0x80 | n) : tagged(0xdf, n); }
  void nothing() { tag(0xc0); }
  void integer(int64_t value) { tagged(0xd3, static_cast<uint64_t>(value)); }

  void number(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    tagged(0xcb, bits);
  }

  void numbers(const double* values, uint32_t n) {
    array(n);
    for (uint32_t k = 0; k < n; ++k) number(values[k]);
  }

  void text(std::string_view s) {
    s.size() < 32 ? tag(uint32_t(0xa0 | s.size())) : tagged(0xdb, uint32_t(s.size()));
    append(s.data(), s.size());
  }

 private:
  void tag(uint32_t byte) {
    const auto one = static_cast<unsigned char>(byte);
    append(&one, 1);
  }

  // A tag and a number, the highest byte first.
  template <typename Number>
  void tagged(unsigned char tag, Number value) {
    unsigned char bytes[1 + sizeof(Number)] = {tag};
    for (size_t k = sizeof(Number); k > 0; --k, value >>= 8) bytes[k] = static_cast<unsigned char>(value);
    append(bytes, sizeof(bytes));
  }

  void append(const void* bytes, size_t n) {
    if (size_ + int64_t(n) <= room_) std::memcpy(out_ + size_, bytes, n);
    size_ += int64_t(n);
  }

  unsigned char* out_;
  int64_t room_, size_ = 0;
};
