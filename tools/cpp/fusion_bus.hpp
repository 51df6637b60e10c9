// What a program needs to speak fusion_rt's bus: msgpack, byte locks, the segment's layout. See docs/bus.md.
#pragma once
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace fusion {

constexpr uint8_t kProtocol = 1;
constexpr uint64_t kPage = 4096, kHead = 24, kMaxSlots = (kPage - kHead) / 8;
constexpr char kMagic[9] = "FRTRING1";
struct Head { char magic[8]; uint32_t slots, unused; uint64_t slot_bytes; };  // then u64 generations
static_assert(sizeof(Head) == kHead, "the head of a segment");

struct Malformed : std::runtime_error { using std::runtime_error::runtime_error; };

// fusion_rt-[0-9]{1,10}-[0-9]{1,10}-[0-9a-f]{16}, so never a path.
inline bool is_segment_name(const std::string& name) {
  size_t at = 10;
  auto some = [&](const char* of, size_t most) {
    size_t n = 0;
    while (n < most && at < name.size() && name[at] && strchr(of, name[at])) at++, n++;
    return n;
  };
  auto dash = [&] { return at < name.size() && name[at++] == '-'; };
  return name.compare(0, 10, "fusion_rt-") == 0 && some("0123456789", 10) && dash() && some("0123456789", 10) &&
         dash() && some("0123456789abcdef", 16) == 16 && at == name.size();
}

// F_WRLCK, F_RDLCK or F_UNLCK on one byte, for this open file description; false where others are in the way.
inline bool lock_byte(int fd, short type, uint64_t byte) {
  struct flock lock{};
  lock.l_type = type, lock.l_whence = SEEK_SET, lock.l_start = off_t(byte), lock.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}
inline uint64_t slot_byte(uint64_t slot) { return 1 + slot; }

inline int64_t now_ns(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// msgpack out, the types that we use.
struct Pack {
  std::string out;
  Pack& big(uint64_t v, int bytes) { while (bytes--) out += char(v >> (8 * bytes)); return *this; }
  Pack& tag(uint8_t t) { out += char(t); return *this; }
  Pack& array(uint16_t n) { return tag(0xdc).big(n, 2); }
  Pack& map(uint16_t n) { return tag(0xde).big(n, 2); }
  Pack& u(uint64_t v) { return tag(0xcf).big(v, 8); }
  Pack& i(int64_t v) { return tag(0xd3).big(uint64_t(v), 8); }
  Pack& boolean(bool v) { return tag(v ? 0xc3 : 0xc2); }
  Pack& str(const std::string& s) { tag(0xda).big(s.size(), 2); out += s; return *this; }
  Pack& bin(const std::string& s) { tag(0xc6).big(s.size(), 4); out += s; return *this; }
};

// msgpack in. Throws Malformed for whatever is not as asked; never reads beyond its end.
struct Unpack {
  const uint8_t *at, *end;
  uint8_t tag() { return *take(1); }
  const uint8_t* take(uint64_t n) {
    if (n > uint64_t(end - at)) throw Malformed("cut short");
    at += n;
    return at - n;
  }
  uint64_t big(int n) { uint64_t v = 0; for (const uint8_t* p = take(n); n--;) v = v << 8 | *p++; return v; }
  int64_t i() {
    const uint8_t t = tag();
    if (t <= 0x7f) return t;
    if (t >= 0xe0) return int8_t(t);
    if (t >= 0xcc && t <= 0xcf) {
      const uint64_t v = big(1 << (t - 0xcc));
      if (v > INT64_MAX) throw Malformed("number beyond int64");
      return int64_t(v);
    }
    if (t >= 0xd0 && t <= 0xd3) {
      const int bits = 8 << (t - 0xd0);
      return int64_t(big(bits / 8) << (64 - bits)) >> (64 - bits);
    }
    throw Malformed("not an integer");
  }
  uint64_t u() {
    if (at < end && *at == 0xcf) return ++at, big(8);  // also beyond int64
    const int64_t v = i();
    if (v < 0) throw Malformed("negative");
    return uint64_t(v);
  }
  uint64_t length(uint8_t fix, uint8_t fix_mask, uint8_t first, int first_bytes, const char* what) {
    const uint8_t t = tag();
    if ((t & ~fix_mask) == fix && fix) return t & fix_mask;
    if (t >= first && t <= first + (first_bytes == 1 ? 2 : 1)) return big(first_bytes << (t - first));
    throw Malformed(what);
  }
  uint64_t array() { return length(0x90, 0x0f, 0xdc, 2, "not an array"); }
  uint64_t map() { return length(0x80, 0x0f, 0xde, 2, "not a map"); }
  std::string str() { return bytes(length(0xa0, 0x1f, 0xd9, 1, "not a string")); }
  std::string bin() { return bytes(length(0, 0, 0xc4, 1, "not bytes")); }
  std::string bytes(uint64_t n) { const char* p = reinterpret_cast<const char*>(take(n)); return {p, size_t(n)}; }
  bool boolean() {
    const uint8_t t = tag();
    if (t != 0xc2 && t != 0xc3) throw Malformed("not a bool");
    return t == 0xc3;
  }
  bool nil() { return at < end && *at == 0xc0 && ++at; }
  void skip(int depth = 16) {
    if (!depth) throw Malformed("too deep");
    if (at == end) throw Malformed("cut short");
    const uint8_t t = *at;
    if (t == 0xc0 || t == 0xc2 || t == 0xc3) take(1);
    else if (t == 0xca || t == 0xcb) take(t == 0xca ? 5 : 9);
    else if ((t & 0xf0) == 0x90 || t == 0xdc || t == 0xdd) for (uint64_t n = array(); n--;) skip(depth - 1);
    else if ((t & 0xf0) == 0x80 || t == 0xde || t == 0xdf) for (uint64_t n = 2 * map(); n--;) skip(depth - 1);
    else if ((t & 0xe0) == 0xa0 || (t >= 0xd9 && t <= 0xdb)) str();
    else if (t >= 0xc4 && t <= 0xc6) bin();
    else u_or_i();
  }
  void u_or_i() { if (at < end && *at == 0xcf) u(); else i(); }
};

}  // namespace fusion
