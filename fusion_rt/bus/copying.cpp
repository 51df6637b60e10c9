// The copy of `Publisher.send`: straight to memory. An ordinary copy of megabytes reads each line of the
// destination before it writes it, and throws everything else out of the processor's caches, the program that
// is to send the descriptor included.
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>

namespace {

constexpr size_t kPage = 4096, kLine = 64;
constexpr int kPages = 4;  // at a time: their address translations and their reads are waited for together

void copy_line(uint8_t* to, const uint8_t* from) {
  __m128i part[4];
  for (int i = 0; i < 4; i++) part[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from) + i);
  for (int i = 0; i < 4; i++) _mm_stream_si128(reinterpret_cast<__m128i*>(to) + i, part[i]);
}

// Whole groups of pages; returns how many bytes those were. `to` is at a multiple of 16.
size_t stream(uint8_t* to, const uint8_t* from, size_t size) {
  const size_t whole = size / (kPages * kPage) * (kPages * kPage);
  for (size_t group = 0; group < whole; group += kPages * kPage)
    for (size_t line = group; line < group + kPage; line += kLine)
      for (int page = 0; page < kPages; page++) copy_line(to + page * kPage + line, from + page * kPage + line);
  _mm_sfence();  // before anyone is told that it is there
  return whole;
}

}  // namespace
#endif

extern "C" __attribute__((visibility("default"))) void frt_copy(uint8_t* to, const uint8_t* from, size_t size) {
  size_t done = 0;
#if defined(__SSE2__)
  if (reinterpret_cast<uintptr_t>(to) % 16 == 0) done = stream(to, from, size);
#endif
  memcpy(to + done, from + done, size - done);
}
