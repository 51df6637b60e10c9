// A CUDA driver without a card, for tests: its device memory is host memory, and its kernels are the CPU build of the
// very .cu files, called with the arguments that were packed for the card. As lazy as a driver may be: what is put on
// a stream is done when somebody waits for it, and not before, so that a missing wait shows in the results. As strict:
// pointers must lie in live allocations, copies must come from pinned memory, every thread needs the context, work has
// a stream of its own. What breaks a rule is noted (frt_stub_violations) and refused.
#define FRT_LAYER 0  // as on a card
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "answer.cu"
#include "boxes.cu"
#include "canvas.cu"
#include "deskew.cu"
#include "image.cu"
#include "pillars.cu"
#include "refine.cu"
#include "roi_points.cu"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_IMAGE = 200, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719,
       NOT_WHILE_RECORDING = 900, RECORDING_SPOILT = 901 };

// Every kernel by its name: the sizes and places of its parameters, which of them are pointers, and how to call it.
struct Kernel {
  std::vector<int> offsets, sizes;
  std::vector<bool> pointers;
  std::function<void(const char*)> call;
  int bytes() const { return offsets.back() + sizes.back(); }
};

template <typename... A, size_t... I>
Kernel kernel_of(void (*function)(A...), std::index_sequence<I...>) {
  Kernel k;
  int offset = 0;
  ((offset = (offset + int(alignof(A)) - 1) / int(alignof(A)) * int(alignof(A)), k.offsets.push_back(offset),
    k.sizes.push_back(sizeof(A)), k.pointers.push_back(std::is_pointer<A>::value), offset += int(sizeof(A))), ...);
  const std::vector<int> at = k.offsets;
  k.call = [function, at](const char* p) { function(*reinterpret_cast<const A*>(p + at[I])...); };
  return k;
}

template <typename... A>
Kernel kernel_of(void (*function)(A...)) {
  return kernel_of(function, std::index_sequence_for<A...>());
}

#define ONE(name) {#name, kernel_of(&name)}
const std::map<std::string, Kernel> kernels = {
    ONE(bev_warp), ONE(box_context), ONE(box_refine), ONE(count_broken), ONE(decode_boxes), ONE(decode_peaks),
    ONE(deskew), ONE(image_columns), ONE(image_resize), ONE(image_undistort), ONE(lift), ONE(nms_keep),
    ONE(nms_overlap), ONE(pillars_cells), ONE(pillars_clear), ONE(pillars_encode), ONE(pillars_group),
    ONE(pillars_merge), ONE(pillars_place), ONE(roi_points), ONE(roi_sample), ONE(rows_order), ONE(rows_tell),
    ONE(view_sample)};

// One thing that a stream does, and the memory that must still be there when it is done.
struct Work {
  std::function<void()> run;
  std::vector<std::pair<uintptr_t, size_t>> of_card, of_host;
};
struct Stream {
  std::deque<std::function<void()>> waiting;
  size_t done = 0;
  bool recording = false, spoilt = false;  // between cuStreamBeginCapture and its end
  std::vector<Work> recorded;
  size_t put() const { return done + waiting.size(); }
};
struct Graph {
  std::vector<Work> works;
};
struct Event {
  Stream* stream = nullptr;
  size_t after = 0;
};
struct Module {
  std::string image;
};
struct Function {
  std::string name;
  const Kernel* kernel;
};

#ifdef FRT_NO_GUARD  // where the compiler guards memory better
constexpr size_t GUARD = 0;
#else
constexpr size_t GUARD = 64;
#endif
constexpr unsigned char GUARDED = 0xA5;
std::map<uintptr_t, size_t> device, pinned, mapped;  // live memory: where, and how many bytes; mapped is pinned, too
size_t used = 0, room = size_t(1) << 34;
std::vector<Stream*> streams;
std::map<std::string, int> calls;
std::ostringstream violations, launches;
struct Fault {
  int after, code;
  bool lasting;
};
std::map<std::string, Fault> faults;
int lost = OK;  // once the card is, every call says so
int contexts = 0, registered = 0, graphs = 0;
bool no_register = false;
thread_local std::vector<int> current;
std::recursive_mutex gate;

int violation(const std::string& what) {
  violations << what << "\n";
  return INVALID_VALUE;
}

// What every call begins with: whether a fault was asked for here, and whether the thread has the context.
int enter(const char* name, bool needs_context = true) {
  ++calls[name];
  if (lost) return lost;
  auto fault = faults.find(name);
  if (fault != faults.end() && fault->second.after-- <= 0) {
    const Fault f = fault->second;
    faults.erase(fault);
    if (f.lasting) lost = f.code;
    return f.code;
  }
  if (needs_context && (current.empty() || !contexts)) {
    violation(std::string(name) + ": no context");
    return INVALID_CONTEXT;
  }
  return OK;
}
// A driver may be called by any thread; so may this one.
#define ALONE() const std::lock_guard<std::recursive_mutex> alone(gate)
#define ENTER() \
  ALONE();      \
  if (const int refused = enter(__func__)) return refused
#define ENTER_WITHOUT_CONTEXT() \
  ALONE();                      \
  if (const int refused = enter(__func__, false)) return refused

bool within(const std::map<uintptr_t, size_t>& memory, uintptr_t p, size_t bytes) {
  auto next = memory.upper_bound(p);
  if (next == memory.begin()) return false;
  --next;
  return p + bytes <= next->first + next->second;
}

void run_until(Stream* stream, size_t end) {
  while (stream->done < end) {
    const auto work = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    ++stream->done;
    work();
  }
}
void run_all() {
  for (Stream* s : streams) run_until(s, s->put());
}
int put(const char* name, Stream* stream, Work work) {
  if (std::find(streams.begin(), streams.end(), stream) == streams.end())
    return violation(std::string(name) + ": not a stream of ours; the default stream waits for all others");
  if (stream->recording)
    stream->recorded.push_back(std::move(work));
  else
    stream->waiting.push_back(std::move(work.run));
  return OK;
}
// What no driver does while the thread records: it says so, and the recording is worth nothing.
bool spoils(Stream* stream = nullptr) {
  bool any = false;
  for (Stream* s : streams)
    if (s->recording && (!stream || s == stream)) any = s->spoilt = true;
  return any;
}
// Both sides of every allocation are as they were.
void check_guards() {
  for (const auto& [at, bytes] : device) {
    const auto* p = reinterpret_cast<const unsigned char*>(at);
    for (size_t i = 0; i < GUARD; ++i)
      if (p[-1 - ptrdiff_t(i)] != GUARDED || p[bytes + i] != GUARDED) {
        violations << "written beside an allocation of " << bytes << " bytes\n";
        break;
      }
  }
}

}  // namespace

// --- for the tests ---
EXPORT const char* frt_stub_violations() {
  ALONE();
  static std::string text;
  check_guards();
  return (text = violations.str()).c_str();
}
EXPORT const char* frt_stub_launches() {
  ALONE();
  static std::string text;
  return (text = launches.str()).c_str();
}
EXPORT int frt_stub_calls(const char* name) {
  ALONE();
  return calls[name];
}
EXPORT long long frt_stub_used() { return (long long)used; }
EXPORT int frt_stub_registered() { return registered; }
EXPORT int frt_stub_graphs() { return graphs; }
EXPORT int frt_stub_contexts() { return contexts; }
EXPORT void frt_stub_forget() {
  ALONE();
  violations.str("");
  launches.str("");
  calls.clear();
  faults.clear();
  lost = OK;
  room = size_t(1) << 34;
  no_register = false;
}
EXPORT void frt_stub_room(long long bytes) { room = size_t(bytes); }
EXPORT void frt_stub_no_register() { no_register = true; }
EXPORT void frt_stub_fail(const char* name, int after, int code, int lasting) {
  faults[name] = Fault{after, code, lasting != 0};
}
EXPORT const char* frt_stub_parameters(const char* name) {
  static std::string text;
  std::ostringstream out;
  auto k = kernels.find(name);
  if (k != kernels.end())
    for (size_t i = 0; i < k->second.sizes.size(); ++i) out << k->second.offsets[i] << ":" << k->second.sizes[i] << " ";
  return (text = out.str()).c_str();
}

// --- the driver ---
EXPORT int cuInit(unsigned) { ENTER_WITHOUT_CONTEXT(); return OK; }
EXPORT int cuDriverGetVersion(int* version) {
  const char* said = getenv("FRT_STUB_VERSION");
  *version = said ? atoi(said) : 13000;
  return OK;
}
EXPORT int cuDeviceGetCount(int* n) {
  ENTER_WITHOUT_CONTEXT();
  *n = 1;
  return OK;
}
EXPORT int cuDeviceGet(int* device_, int ordinal) {
  ENTER_WITHOUT_CONTEXT();
  *device_ = ordinal;
  return ordinal == 0 ? OK : 101;
}
EXPORT int cuDeviceGetName(char* name, int n, int) {
  strncpy(name, "a card of the tests", size_t(n));
  return OK;
}
EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = room;
  return OK;
}
EXPORT int cuDeviceGetAttribute(int* value, int which, int) {
  const char* said = getenv("FRT_STUB_CAPABILITY");
  const int capability = said ? atoi(said) : 90;
  const bool integrated = getenv("FRT_STUB_INTEGRATED") != nullptr;
  *value = which == 75 ? capability / 10 : which == 76 ? capability % 10 : which == 16 ? 4 : which == 18 ? integrated : 1;
  return OK;
}
EXPORT int cuDevicePrimaryCtxRetain(void** context, int) {
  ENTER_WITHOUT_CONTEXT();
  ++contexts;
  *context = &contexts;
  return OK;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int) {
  ALONE();
  if (--contexts == 0) {
    run_all();
    check_guards();
    for (const auto& [at, bytes] : device) free(reinterpret_cast<void*>(at - GUARD));
    device.clear();
    used = 0;
    streams.clear();
  }
  return OK;
}
EXPORT int cuCtxSetCurrent(void* context) {
  ENTER_WITHOUT_CONTEXT();
  current.clear();
  if (context) current.push_back(1);
  return OK;
}
EXPORT int cuCtxPushCurrent_v2(void*) {
  ENTER_WITHOUT_CONTEXT();
  current.push_back(1);
  return OK;
}
EXPORT int cuCtxPopCurrent_v2(void** context) {
  if (context) *context = &contexts;
  if (!current.empty()) current.pop_back();
  return OK;
}
EXPORT int cuCtxGetCurrent(void** context) {
  *context = current.empty() ? nullptr : &contexts;
  return OK;
}
EXPORT int cuCtxGetDevice(int* ordinal) {
  *ordinal = 0;
  return OK;
}
EXPORT int cuCtxGetApiVersion(void*, unsigned* version) {
  *version = 13000;
  return OK;
}
EXPORT int cuCtxSynchronize() {
  ENTER();
  run_all();
  return OK;
}
EXPORT int cuMemAlloc_v2(uintptr_t* p, size_t bytes) {
  ENTER();
  if (spoils()) return NOT_WHILE_RECORDING;
  if (bytes == 0) return INVALID_VALUE;
  if (used + bytes > room) return OUT_OF_MEMORY;
  auto* whole = static_cast<unsigned char*>(malloc(bytes + 2 * GUARD));
  memset(whole, GUARDED, bytes + 2 * GUARD);  // and no zero where nobody wrote one
  *p = uintptr_t(whole) + GUARD;
  device[*p] = bytes;
  used += bytes;
  return OK;
}
EXPORT int cuMemFree_v2(uintptr_t p) {
  ENTER();
  if (spoils()) return NOT_WHILE_RECORDING;
  auto found = device.find(p);
  if (found == device.end()) return violation("cuMemFree: not allocated");
  run_all();  // as the driver does
  check_guards();
  used -= found->second;
  device.erase(found);
  free(reinterpret_cast<void*>(p - GUARD));
  return OK;
}
EXPORT int cuMemHostAlloc(void** p, size_t bytes, unsigned flags) {
  ENTER();
  if (spoils()) return NOT_WHILE_RECORDING;
  *p = malloc(bytes);
  pinned[uintptr_t(*p)] = bytes;
  if (flags & 2) mapped[uintptr_t(*p)] = bytes;  // CU_MEMHOSTALLOC_DEVICEMAP
  return OK;
}
EXPORT int cuMemHostGetDevicePointer_v2(uintptr_t* to, void* p, unsigned) {
  ENTER();
  if (!mapped.count(uintptr_t(p))) return violation("cuMemHostGetDevicePointer: not mapped");
  *to = uintptr_t(p);
  return OK;
}
EXPORT int cuMemAllocHost_v2(void** p, size_t bytes) { return cuMemHostAlloc(p, bytes, 0); }
EXPORT int cuMemFreeHost(void* p) {
  ALONE();
  ++calls[__func__];
  if (contexts && current.empty()) return violation("cuMemFreeHost: no context");  // without one it is gone anyway
  run_all();
  pinned.erase(uintptr_t(p));
  mapped.erase(uintptr_t(p));
  free(p);
  return OK;
}
EXPORT int cuMemHostRegister_v2(void* p, size_t bytes, unsigned flags) {
  ENTER();
  if (no_register) return 801;  // CUDA_ERROR_NOT_SUPPORTED
  if (!(flags & 8)) return violation("cuMemHostRegister: a mapping for reading needs the flag that says so");
  if (uintptr_t(p) % 4096) return violation("cuMemHostRegister: not a whole page");
  pinned[uintptr_t(p)] = bytes;
  ++registered;
  return OK;
}
EXPORT int cuMemHostUnregister(void* p) {
  ALONE();
  if (!pinned.erase(uintptr_t(p))) return violation("cuMemHostUnregister: not registered");
  --registered;
  return OK;
}
EXPORT int cuStreamCreate(Stream** stream, unsigned) {
  ENTER();
  *stream = new Stream();
  streams.push_back(*stream);
  return OK;
}
EXPORT int cuStreamDestroy_v2(Stream* stream) {
  ALONE();
  run_until(stream, stream->put());
  streams.erase(std::remove(streams.begin(), streams.end(), stream), streams.end());
  return OK;
}
EXPORT int cuStreamSynchronize(Stream* stream) {
  ENTER();
  if (spoils(stream)) return NOT_WHILE_RECORDING;
  run_until(stream, stream->put());
  return OK;
}
EXPORT int cuEventCreate(Event** event, unsigned) {
  ENTER();
  *event = new Event();
  return OK;
}
EXPORT int cuEventDestroy_v2(Event* event) {
  (void)event;  // a stream may still wait for it
  return OK;
}
EXPORT int cuEventRecord(Event* event, Stream* stream) {
  ENTER();
  if (spoils(stream)) return NOT_WHILE_RECORDING;  // a driver would; we have no use for it
  if (const int refused = put("cuEventRecord", stream, {[] {}, {}, {}})) return refused;
  event->stream = stream;
  event->after = stream->put();
  return OK;
}
EXPORT int cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
  ENTER();
  if (spoils(stream)) return 905;  // CUDA_ERROR_STREAM_CAPTURE_ISOLATION
  if (!event->stream) return OK;
  const Event then = *event;
  return put("cuStreamWaitEvent", stream, {[then] { run_until(then.stream, then.after); }, {}, {}});
}
EXPORT int cuEventQuery(Event* event) {
  ENTER();
  return !event->stream || event->stream->done >= event->after ? OK : NOT_READY;
}
EXPORT int cuEventSynchronize(Event* event) {
  ENTER();
  if (event->stream) run_until(event->stream, event->after);
  return OK;
}
EXPORT int cuEventElapsedTime(float* ms, Event*, Event*) {
  ENTER();
  *ms = 1.0f;
  return OK;
}
EXPORT int cuEventElapsedTime_v2(float* ms, Event* a, Event* b) { return cuEventElapsedTime(ms, a, b); }
EXPORT int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t bytes, Stream* stream) {
  ENTER();
  if (!within(device, to, bytes)) return violation("upload beyond an allocation");
  if (!within(pinned, uintptr_t(from), bytes)) return violation("upload from memory that is not pinned");
  return put(__func__, stream, {[=] { memcpy(reinterpret_cast<void*>(to), from, bytes); },
                                {{to, bytes}}, {{uintptr_t(from), bytes}}});
}
EXPORT int cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t bytes, Stream* stream) {
  ENTER();
  if (!within(device, from, bytes)) return violation("download beyond an allocation");
  if (!within(pinned, uintptr_t(to), bytes)) return violation("download to memory that is not pinned");
  return put(__func__, stream, {[=] { memcpy(to, reinterpret_cast<void*>(from), bytes); },
                                {{from, bytes}}, {{uintptr_t(to), bytes}}});
}
EXPORT int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, Stream* stream) {
  ENTER();
  if (!within(device, from, bytes) || !within(device, to, bytes)) return violation("copy beyond an allocation");
  return put(__func__, stream, {[=] { memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes); },
                                {{to, bytes}, {from, bytes}}, {}});
}
EXPORT int cuMemsetD8Async(uintptr_t to, unsigned char value, size_t bytes, Stream* stream) {
  ENTER();
  if (!within(device, to, bytes)) return violation("clearing beyond an allocation");
  return put(__func__, stream, {[=] { memset(reinterpret_cast<void*>(to), value, bytes); }, {{to, bytes}}, {}});
}
EXPORT int cuModuleLoadData(Module** module, const void* image) {
  ENTER();
  const auto* e = static_cast<const unsigned char*>(image);
  uint16_t machine, sections, each;
  uint64_t table;
  memcpy(&machine, e + 18, 2);
  if (memcmp(e, "\177ELF\2", 5) || machine != 190) return INVALID_IMAGE;  // EM_CUDA
  memcpy(&table, e + 40, 8);
  memcpy(&each, e + 58, 2);
  memcpy(&sections, e + 60, 2);
  size_t end = table + size_t(each) * sections;
  for (int i = 0; i < sections; ++i) {
    uint64_t at, bytes;
    uint32_t type;
    memcpy(&type, e + table + size_t(i) * each + 4, 4);
    memcpy(&at, e + table + size_t(i) * each + 24, 8);
    memcpy(&bytes, e + table + size_t(i) * each + 32, 8);
    if (type != 8) end = std::max(end, size_t(at + bytes));
  }
  *module = new Module{std::string(static_cast<const char*>(image), end)};
  return OK;
}
EXPORT int cuModuleLoadDataEx(Module** module, const void* image, unsigned, void*, void*) {
  return cuModuleLoadData(module, image);
}
EXPORT int cuModuleUnload(Module*) { return OK; }
EXPORT int cuModuleGetFunction(Function** function, Module* module, const char* name) {
  ENTER();
  const auto found = kernels.find(name);
  const std::string section = std::string(".text.") + name + '\0';
  if (found == kernels.end() || module->image.find(section) == std::string::npos) return NOT_FOUND;
  *function = new Function{name, &found->second};
  return OK;
}
EXPORT int cuFuncGetAttribute(int* value, int, Function*) {
  *value = 0;
  return OK;
}
EXPORT int cuLaunchKernel(Function* function, unsigned blocks, unsigned by, unsigned bz, unsigned threads, unsigned ty,
                          unsigned tz, unsigned shared, Stream* stream, void** parameters, void** extra) {
  ENTER();
  const Kernel& k = *function->kernel;
  const std::string& name = function->name;
  if (blocks == 0 || threads == 0 || threads > 1024 || by * bz * ty * tz != 1 || shared)
    return violation(name + ": a launch that no card takes");
  std::string packed(size_t(k.bytes()), '\0');
  if (parameters) return violation(name + ": by kernelParams, not packed");
  const char* from = nullptr;
  size_t bytes = 0;
  for (int i = 0; extra && extra[i]; i += 2) {
    if (extra[i] == reinterpret_cast<void*>(1)) from = static_cast<const char*>(extra[i + 1]);
    if (extra[i] == reinterpret_cast<void*>(2)) bytes = *static_cast<size_t*>(extra[i + 1]);
  }
  if (!from || bytes != packed.size())
    return violation(name + ": " + std::to_string(bytes) + " bytes of parameters, it has " + std::to_string(k.bytes()));
  packed.assign(from, bytes);
  std::vector<std::pair<uintptr_t, size_t>> memory;
  for (size_t i = 0; i < k.sizes.size(); ++i) {
    uintptr_t p = 0;
    if (!k.pointers[i]) continue;
    memcpy(&p, packed.data() + k.offsets[i], sizeof p);
    if (!within(device, p, 0) && !within(mapped, p, 0))
      return violation(name + ": parameter " + std::to_string(i) + " is no memory of the card");
    memory.push_back({p, 0});
  }
  launches << name << " " << blocks << " " << threads << "\n";
  return put(name.c_str(), stream, {[&k, packed, blocks] {
    for (unsigned b = blocks; b-- > 0;) {  // in no order that anybody may rely on
      frt_worker = {int(b), int(blocks)};
      k.call(packed.data());
    }
    frt_worker = {0, 1};
  }, memory, {}});
}
EXPORT int cuLaunchHostFunc(Stream* stream, void (*function)(void*), void* given) {
  ENTER();
  return put(__func__, stream, {[=] { function(given); }, {}, {}});
}
EXPORT int cuStreamBeginCapture_v2(Stream* stream, int mode) {
  ENTER();
  if (mode != 1) return violation("cuStreamBeginCapture: a mode in which other threads are disturbed, or harm");
  if (stream->recording) return INVALID_VALUE;
  stream->recording = true;
  stream->spoilt = false;
  stream->recorded.clear();
  return OK;
}
EXPORT int cuStreamEndCapture(Stream* stream, Graph** graph) {
  const std::lock_guard<std::recursive_mutex> before(gate);
  const bool recorded = stream->recording;
  stream->recording = false;  // whatever comes of it
  *graph = nullptr;
  ENTER();
  if (!recorded) return INVALID_VALUE;
  if (stream->spoilt) return RECORDING_SPOILT;
  *graph = new Graph{std::move(stream->recorded)};
  ++graphs;
  return OK;
}
EXPORT int cuGraphDestroy(Graph* graph) {
  ALONE();
  --graphs;
  delete graph;
  return OK;
}
EXPORT int cuGraphInstantiateWithFlags(Graph** made, Graph* graph, unsigned long long) {
  ENTER();
  *made = new Graph(*graph);
  ++graphs;
  return OK;
}
EXPORT int cuGraphExecDestroy(Graph* graph) { return cuGraphDestroy(graph); }
EXPORT int cuGraphLaunch(Graph* graph, Stream* stream) {
  ENTER();
  if (spoils(stream)) return NOT_WHILE_RECORDING;
  for (const Work& work : graph->works) {
    for (const auto& [at, bytes] : work.of_card)
      if (!within(device, at, bytes)) return violation("cuGraphLaunch: memory of the card is gone");
    for (const auto& [at, bytes] : work.of_host)
      if (!within(pinned, at, bytes)) return violation("cuGraphLaunch: pinned memory is gone");
  }
  for (const Work& work : graph->works)
    if (const int refused = put(__func__, stream, work)) return refused;
  return OK;
}
EXPORT int cuGetErrorName(int code, const char** name) {
  *name = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
  return OK;
}
EXPORT int cuGetErrorString(int code, const char** words) {
  *words = code == OUT_OF_MEMORY ? "out of memory" : code == LAUNCH_FAILED ? "unspecified launch failure" : "refused";
  return OK;
}
EXPORT int cuGetExportTable(const void** table, const void*) {  // NVRTC asks
  *table = nullptr;
  return NOT_FOUND;
}
// The newest form of a function that there is.
EXPORT int cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* found) {
  static void* self = [] {
    Dl_info info;
    dladdr(reinterpret_cast<void*>(&cuInit), &info);
    return dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  }();
  *function = nullptr;
  for (const char* form : {"_v4", "_v3", "_v2", ""}) {
    *function = dlsym(self, (std::string(name) + form).c_str());
    if (*function) break;
  }
  if (found) *found = *function ? 0 : 1;
  return *function ? OK : NOT_FOUND;
}
EXPORT int cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}

#include "unused.h"
