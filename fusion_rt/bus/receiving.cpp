// Receives the message that is expected: the next number of the same publisher, alone, small or in a slot of
// the segment that is mapped already. Everything else is left to the subscriber's Python, bytes and all, which
// says what is valid; this only does for the usual message, in a few cache lines, what takes the interpreter a
// hundred microseconds after it has slept.
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace {

constexpr int64_t kMaxArrays = 8, kFirstSlotByte = 1;

// `Expected` and `Arrived` of receiving.py.
struct Expected {
  int64_t lock, protocol, instance, seq, slots, slot_bytes;
  const uint64_t* generations;
  int64_t prefix_size, host_size, segment_size;
  uint8_t prefix[72], host[256], segment[64];
};
struct Arrived {
  int64_t usual, published_ns, slot, header_at, header_size, arrays;
  int64_t places[2 * kMaxArrays];  // offset, bytes
};

// msgpack as msgspec writes it; `good` turns false at the first thing that is not as asked, and stays so.
struct Reader {
  const uint8_t *at, *end;
  bool good = true;

  bool fail() { return good = false; }
  const uint8_t* take(uint64_t size) {
    if (!good || size > uint64_t(end - at)) return fail(), end;
    at += size;
    return at - size;
  }
  uint64_t big(int size) {
    const uint8_t* p = take(size);
    uint64_t value = 0;
    for (int i = 0; good && i < size; i++) value = value << 8 | p[i];
    return value;
  }
  uint8_t tag() { return uint8_t(big(1)); }
  // At most 2^63 - 1: everything that is counted here.
  int64_t number() {
    const uint8_t t = tag();
    if (t < 0x80) return t;
    if (t < 0xcc || t > 0xcf) return fail(), 0;
    const uint64_t value = big(1 << (t - 0xcc));
    if (value > INT64_MAX) fail();
    return int64_t(value);
  }
  void array(uint8_t size) { if (tag() != (0x90 | size)) fail(); }
  uint64_t text() {
    const uint8_t t = tag();
    return (t & 0xe0) == 0xa0 ? t & 0x1f : t == 0xd9 ? big(1) : (fail(), 0);
  }
  void text_is(const uint8_t* expected, int64_t size) {
    const uint64_t got = text();
    const uint8_t* p = take(got);
    if (!good || got != uint64_t(size) || memcmp(p, expected, size)) fail();
  }
  uint64_t binary() {
    const uint8_t t = tag();
    return t == 0xc4 ? big(1) : t == 0xc5 ? big(2) : (fail(), 0);
  }
};

bool lock_shared(int fd, int64_t byte, short type) {
  struct flock lock{};
  lock.l_type = type, lock.l_whence = SEEK_SET, lock.l_start = byte, lock.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool is_kind(const uint8_t* text, uint64_t size) {
  for (const char* kind : {"sensor", "event", "state", "log"})
    if (strlen(kind) == size && !memcmp(kind, text, size)) return true;
  return false;
}

// Where the frame's body begins; 0: not one whole message of one part.
size_t body_of(const uint8_t* data, size_t size) {
  if (size >= 2 && data[0] == 0 && size == 2u + data[1]) return 2;
  if (size < 9 || data[0] != 2) return 0;
  Reader length{data + 1, data + 9};
  return length.big(8) == size - 9 ? 9 : 0;
}

// Where the announcements end with which a read may begin (`zmtp.ANNOUNCEMENT`).
size_t after_announcements(const uint8_t* data, size_t size) {
  static constexpr char kAnnouncement[] = "\x04\x09\x08" "ANNOUNCE";
  constexpr size_t kSize = sizeof kAnnouncement - 1;
  size_t at = 0;
  while (size - at >= kSize && !memcmp(data + at, kAnnouncement, kSize)) at += kSize;
  return at;
}

bool is_usual(const uint8_t* data, size_t size, Expected& expected, Arrived& arrived) {
  const size_t start = after_announcements(data, size), body = body_of(data + start, size - start);
  Reader r{data + start + body, data + size};
  const uint8_t* prefix = r.take(expected.prefix_size);
  if (!body || !r.good || memcmp(prefix, expected.prefix, expected.prefix_size)) return false;
  if (r.tag() != expected.protocol) return false;
  uint32_t length = 0;
  const uint8_t* p = r.take(4);
  if (!r.good) return false;
  for (int i = 3; i >= 0; i--) length = length << 8 | p[i];
  if (length != uint64_t(r.end - r.at)) return false;  // no arrays behind it
  r.array(8);
  const uint64_t kind_size = r.text();
  const uint8_t* kind = r.take(kind_size);
  if (!r.good || !is_kind(kind, kind_size)) return false;
  if (r.number() != expected.instance || r.number() != expected.seq) return false;
  arrived.published_ns = r.number();
  r.text_is(expected.host, expected.host_size);
  arrived.header_size = int64_t(r.binary());
  arrived.header_at = r.take(arrived.header_size) - data;
  const uint8_t count = r.tag();
  if (!r.good || (count & 0xf0) != 0x90 || (arrived.arrays = count & 0x0f) > kMaxArrays) return false;
  for (int64_t i = 0; i < arrived.arrays; i++) {
    r.array(3);
    if (r.tag() != 0xc3) return false;  // true: in the slot
    const int64_t offset = arrived.places[2 * i] = r.number();
    const int64_t bytes = arrived.places[2 * i + 1] = r.number();
    if (offset > expected.slot_bytes || bytes > expected.slot_bytes - offset) return false;
  }
  arrived.slot = -1;
  if (!arrived.arrays) return r.tag() == 0xc0 && r.good && r.at == r.end;
  r.array(3);
  r.text_is(expected.segment, expected.segment_size);
  const int64_t slot = r.number(), generation = r.number();
  if (!r.good || r.at != r.end || expected.lock < 0 || slot >= expected.slots || generation < 1) return false;
  if (!lock_shared(int(expected.lock), kFirstSlotByte + slot, F_RDLCK)) return false;
  // First the lock, then the generation.
  if (__atomic_load_n(expected.generations + slot, __ATOMIC_ACQUIRE) != uint64_t(generation))
    return lock_shared(int(expected.lock), kFirstSlotByte + slot, F_UNLCK), false;
  arrived.slot = slot;
  return true;
}

}  // namespace

// What recv gives, or minus errno. `arrived->usual` 1: the message is here, and its slot, if it has one, locked;
// 2: it is announced; 0: something else came.
extern "C" __attribute__((visibility("default"))) int64_t frt_receive(int socket, int flags, uint8_t* data,
                                                                      size_t room, Expected* expected,
                                                                      Arrived* arrived) {
  const ssize_t size = recv(socket, data, room, flags);
  if (size < 0) return -errno;
  const bool announced = size > 0 && after_announcements(data, size) == size_t(size);
  arrived->usual = announced ? 2 : size > 0 && expected->seq >= 0 && is_usual(data, size, *expected, *arrived);
  return size;
}
