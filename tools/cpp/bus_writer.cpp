// A camera driver in C++: images of one grey value each, written in place, for any reader of the bus.
//   g++ -std=c++17 -O2 bus_writer.cpp -lzmq -o bus_writer
//   ./bus_writer RUN_DIR TOPIC COUNT PERIOD_MS [WIDTH HEIGHT]       COUNT 0: until SIGTERM
#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <zmq.h>

#include <cstdio>
#include <deque>
#include <random>

#include "fusion_bus.hpp"
using namespace fusion;

static volatile sig_atomic_t stopping = 0;
static void fail(const std::string& what) { perror(what.c_str()); exit(1); }

// One segment and the slots that no loan has, oldest first.
struct Ring {
  std::string name;
  int fd;
  uint8_t* memory;
  uint64_t slot_bytes, generation = 0;
  std::deque<uint32_t> order;

  Ring(uint64_t bytes, uint32_t slots) : slot_bytes((bytes + kPage - 1) / kPage * kPage) {
    sweep();
    char random[17];
    snprintf(random, sizeof random, "%08x%08x", std::random_device()(), std::random_device()());
    name = "fusion_rt-" + std::to_string(getuid()) + "-" + std::to_string(getpid()) + "-" + random;
    const uint64_t size = kPage + slots * slot_bytes;
    // The segment gets its name only when its owner's lock is on it: no sweeper takes it for a dead one.
    fd = open("/dev/shm", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, off_t(size)) || !lock_byte(fd, F_WRLCK, 0)) fail("/dev/shm");
    void* map = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED) fail("mmap");
    memory = static_cast<uint8_t*>(map);
    Head head{{}, slots, 0, slot_bytes};
    memcpy(head.magic, kMagic, 8);
    memcpy(memory, &head, sizeof head);
    const std::string proc = "/proc/self/fd/" + std::to_string(fd);
    if (linkat(AT_FDCWD, proc.c_str(), AT_FDCWD, path().c_str(), AT_SYMLINK_FOLLOW)) fail("linkat");
    for (uint32_t i = 0; i < slots; i++) order.push_back(i);
  }
  ~Ring() { unlink(path().c_str()); }
  std::string path() const { return "/dev/shm/" + name; }
  uint8_t* slot(uint32_t i) { return memory + kPage + i * slot_bytes; }
  void set_generation(uint32_t i, uint64_t g) {
    __atomic_store_n(reinterpret_cast<uint64_t*>(memory + kHead) + i, g, __ATOMIC_RELEASE);
  }
  // The oldest slot that no reader holds, or -1: then the message is dropped.
  int64_t take() {
    for (auto it = order.begin(); it != order.end(); ++it)
      if (lock_byte(fd, F_WRLCK, slot_byte(*it))) {
        const uint32_t i = *it;
        order.erase(it);
        set_generation(i, 0);
        return i;
      }
    return -1;
  }
  uint64_t commit(uint32_t i) {
    set_generation(i, ++generation);
    lock_byte(fd, F_UNLCK, slot_byte(i));
    order.push_back(i);
    return generation;
  }
  static void sweep() {  // segments of ours whose owner is gone
    const std::string mine = "fusion_rt-" + std::to_string(getuid()) + "-";
    DIR* folder = opendir("/dev/shm");
    for (dirent* e; folder && (e = readdir(folder));) {
      const std::string path = std::string("/dev/shm/") + e->d_name;
      if (strncmp(e->d_name, mine.c_str(), mine.size()) || !is_segment_name(e->d_name)) continue;
      const int fd = open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
      if (fd >= 0 && lock_byte(fd, F_WRLCK, 0)) unlink(path.c_str());
      if (fd >= 0) close(fd);
    }
    if (folder) closedir(folder);
  }
};

int main(int argc, char** argv) {
  if (argc != 5 && argc != 7) return fprintf(stderr, "RUN_DIR TOPIC COUNT PERIOD_MS [WIDTH HEIGHT]\n"), 2;
  const std::string topic = argv[2], path = std::string(argv[1]) + "/" + topic, lock = path + ".lock";
  const uint64_t count = strtoull(argv[3], nullptr, 10), instance = std::random_device()();
  const double period_ms = atof(argv[4]);
  const uint64_t width = argc == 7 ? atoi(argv[5]) : 160, height = argc == 7 ? atoi(argv[6]) : 120;
  struct sigaction action{};
  action.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGTERM, &action, nullptr), sigaction(SIGINT, &action, nullptr);

  const int claim = open(lock.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (claim < 0) fail(lock);
  struct stat status{};
  if (!lock_byte(claim, F_WRLCK, 0) || fstat(claim, &status) || !status.st_nlink)  // or just given up: start again
    return fprintf(stderr, "%s: already published\n", path.c_str()), 1;
  if (ftruncate(claim, 0)) fail(lock);
  dprintf(claim, "%d", getpid());
  void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_XPUB);
  const int linger = 250;
  zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
  if (zmq_bind(socket, ("ipc://" + path).c_str())) fail(path);
  printf("bound\n"), fflush(stdout);

  Ring ring(width * height * 3, 8);
  char said[256], host[256] = "";
  gethostname(host, sizeof host - 1);
  while (!stopping && zmq_recv(socket, said, sizeof said, 0) < 1) {}  // until somebody subscribes
  for (uint64_t seq = 0; !stopping && (!count || seq < count); seq++) {
    while (zmq_recv(socket, said, sizeof said, ZMQ_DONTWAIT) >= 0) {}  // others come and go
    const int64_t slot = ring.take();
    if (slot < 0) continue;  // a gap in seq, which every reader counts
    memset(ring.slot(uint32_t(slot)), int(seq % 256), width * height * 3);  // the driver, in place
    Pack header;
    header.map(6).str("type").str("image").str("header").map(4);
    header.str("sensor_id").str(topic).str("frame_id").str(topic).str("seq").u(seq);
    header.str("stamp_ns").i(now_ns(CLOCK_REALTIME));
    header.str("height").u(height).str("width").u(width).str("encoding").str("bgr8");
    header.str("data").array(3).u(0).str("|u1").array(3).u(height).u(width).u(3);
    const uint64_t generation = ring.commit(uint32_t(slot));
    Pack envelope;
    envelope.array(8).str("sensor").u(instance).u(seq).i(now_ns(CLOCK_MONOTONIC)).str(host).bin(header.out);
    envelope.array(1).array(3).boolean(true).u(0).u(width * height * 3);
    envelope.array(3).str(ring.name).u(uint64_t(slot)).u(generation);
    std::string frame = topic + '\0' + char(kProtocol);
    const uint32_t length = uint32_t(envelope.out.size());
    frame.append(reinterpret_cast<const char*>(&length), 4).append(envelope.out);
    zmq_send(socket, frame.data(), frame.size(), 0);
    usleep(useconds_t(period_ms * 1000));
  }
  printf("sent\n"), fflush(stdout);
  while (!stopping && getchar() == '\n') break;  // the ring stays until the reader has read
  zmq_close(socket), zmq_ctx_term(context);
  unlink(path.c_str()), unlink(lock.c_str());
  return 0;
}
