// A reader of images in C++: zero-copy, and it counts whatever it cannot read.
//   g++ -std=c++17 -O2 bus_reader.cpp -lzmq -o bus_reader
//   ./bus_reader RUN_DIR TOPIC COUNT [hold]     until seq COUNT - 1 or a second of silence; hold: keeps every slot
#include <sys/mman.h>
#include <zmq.h>

#include <cstdio>
#include <map>
#include <memory>

#include "fusion_bus.hpp"
using namespace fusion;

struct Gone : std::runtime_error { using std::runtime_error::runtime_error; };  // overwritten, or removed

// A segment mapped for reading only.
struct Segment {
  int fd = -1;
  uint64_t size = 0;
  const uint8_t* memory = nullptr;
  Head head{};

  explicit Segment(const std::string& name) {
    if (!is_segment_name(name)) throw Malformed("not a segment's name");
    fd = open(("/dev/shm/" + name).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) throw Gone("its writer has removed it");
    struct stat s{};
    if (fd < 0 || fstat(fd, &s) || !S_ISREG(s.st_mode) || s.st_uid != getuid() ||
        pread(fd, &head, sizeof head, 0) != sizeof head || memcmp(head.magic, kMagic, 8) ||
        head.slots > kMaxSlots || head.slot_bytes > (1ull << 40) ||
        kPage + head.slots * head.slot_bytes != uint64_t(s.st_size) || uint64_t(s.st_blocks) * 512 < uint64_t(s.st_size)) {
      if (fd >= 0) close(fd);
      throw Malformed("not a segment of this user");
    }
    size = uint64_t(s.st_size);
    void* map = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) throw Malformed("cannot be mapped");
    memory = static_cast<const uint8_t*>(map);
  }
  Segment(const Segment&) = delete;
  ~Segment() {
    if (memory) munmap(const_cast<uint8_t*>(memory), size), close(fd);
  }
};

// A slot that its writer passes over until this is gone.
struct Lease {
  std::shared_ptr<Segment> segment;
  int fd;
  Lease(std::shared_ptr<Segment> s, uint64_t slot, uint64_t generation) : segment(std::move(s)) {
    if (slot >= segment->head.slots) throw Malformed("no such slot");
    // A description of its own, through /proc since the name may be gone: locks are of descriptions.
    fd = open(("/proc/self/fd/" + std::to_string(segment->fd)).c_str(), O_RDONLY | O_CLOEXEC);
    const auto* generations = reinterpret_cast<const uint64_t*>(segment->memory + kHead);
    if (fd < 0 || !lock_byte(fd, F_RDLCK, slot_byte(slot)) ||  // first the lock, then the generation
        __atomic_load_n(generations + slot, __ATOMIC_ACQUIRE) != generation) {
      if (fd >= 0) close(fd);
      throw Gone("another generation");
    }
  }
  Lease(const Lease&) = delete;
  ~Lease() { close(fd); }
};

int main(int argc, char** argv) {
  if (argc < 4) return fprintf(stderr, "RUN_DIR TOPIC COUNT [hold]\n"), 2;
  const std::string topic = argv[2], prefix = topic + '\0';
  const uint64_t count = strtoull(argv[3], nullptr, 10);
  void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_SUB);
  zmq_setsockopt(socket, ZMQ_SUBSCRIBE, prefix.data(), prefix.size());
  zmq_connect(socket, ("ipc://" + std::string(argv[1]) + "/" + topic).c_str());
  printf("connected\n"), fflush(stdout);

  std::map<std::string, std::shared_ptr<Segment>> segments;
  std::vector<std::unique_ptr<Lease>> held;
  uint64_t received = 0, lost = 0, malformed = 0, gone = 0, restarts = 0, instance = 0, next = 0, wrong = 0;
  for (bool begun = false, done = false; !done;) {
    int wait_ms = begun ? 1000 : 20000, more = 0;
    size_t size = sizeof more;
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    zmq_msg_t m;
    zmq_msg_init(&m);
    if (zmq_msg_recv(&m, socket, 0) < 0) break;
    const std::string frame(static_cast<char*>(zmq_msg_data(&m)), zmq_msg_size(&m));
    int parts = 1;
    while (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) == 0 && more) zmq_msg_recv(&m, socket, 0), parts++;
    zmq_msg_close(&m);
    try {
      if (parts > 1) throw Malformed("several parts");
      const size_t body = prefix.size() + 5;
      uint32_t length = 0;
      if (frame.size() < body || uint8_t(frame[prefix.size()]) != kProtocol) throw Malformed("another protocol");
      memcpy(&length, frame.data() + prefix.size() + 1, 4);
      if (length > frame.size() - body) throw Malformed("cut short");
      const uint8_t* start = reinterpret_cast<const uint8_t*>(frame.data()) + body;
      Unpack e{start, start + length};
      if (e.array() != 8) throw Malformed("not an envelope");
      e.str();  // kind: this reader takes every message
      const uint64_t from = e.u(), seq = e.u();
      e.i(), e.str();  // published_ns, host
      const std::string header = e.bin();
      if (e.array() != 1 || e.array() != 3 || !e.boolean()) throw Malformed("an image has one array, in a slot");
      const uint64_t offset = e.u(), nbytes = e.u();
      if (e.array() != 3) throw Malformed("no slot");
      const std::string name = e.str();
      const uint64_t slot = e.u(), generation = e.u();
      if (e.at != e.end || !generation) throw Malformed("not an envelope");

      if (begun && from != instance) restarts++;
      else if (begun && seq < next) throw Malformed("a replay");
      else if (begun) lost += seq - next;
      begun = true, instance = from, next = seq + 1, done = count && next >= count;

      auto segment = segments.find(name);
      if (segment == segments.end()) {
        if (segments.size() > 32) segments.clear();  // writers that have gone
        segment = segments.emplace(name, std::make_shared<Segment>(name)).first;
      }
      auto lease = std::make_unique<Lease>(segment->second, slot, generation);
      const Head& head = lease->segment->head;
      if (offset > head.slot_bytes || nbytes > head.slot_bytes - offset) throw Malformed("beyond the slot");

      Unpack h{reinterpret_cast<const uint8_t*>(header.data()), reinterpret_cast<const uint8_t*>(header.data() + header.size())};
      uint64_t elements = 0;
      std::string type;
      for (uint64_t n = h.map(); n--;) {
        const std::string key = h.str();
        if (key == "type") type = h.str();
        else if (key != "data") h.skip();
        else {
          if (h.array() != 3 || h.u() != 0 || h.str() != "|u1") throw Malformed("not bytes");
          elements = 1;
          for (uint64_t d = h.array(); d--;)
            if (__builtin_mul_overflow(elements, h.u(), &elements)) throw Malformed("absurd shape");
        }
      }
      if (type != "image" || elements != nbytes) throw Malformed("not an image of that size");

      const uint8_t* pixels = lease->segment->memory + kPage + slot * head.slot_bytes + offset;
      for (uint64_t i = 1; i < nbytes; i++) wrong += pixels[i] != pixels[0];
      received++;
      printf("%llu %u\n", static_cast<unsigned long long>(seq), nbytes ? pixels[0] : 0), fflush(stdout);
      if (argc > 4) held.push_back(std::move(lease));
    } catch (const Malformed&) {
      malformed++;
    } catch (const Gone&) {
      gone++;
    }
  }
  printf("received %llu lost %llu malformed %llu gone %llu restarts %llu wrong %llu\n", (unsigned long long)received,
         (unsigned long long)lost, (unsigned long long)malformed, (unsigned long long)gone,
         (unsigned long long)restarts, (unsigned long long)wrong);
  held.clear();
  zmq_close(socket), zmq_ctx_term(context);
  return 0;
}
