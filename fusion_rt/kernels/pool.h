// A few threads that wait for the next kernel. A kernel is cut into as many slices as there are threads, the caller
// among them; whoever is free takes the next, so that nobody waits for a thread that is still asleep.
#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "frt.h"

class Pool {
 public:
  // One pool a process, of the size last asked for; made anew in a forked child, where no threads survive.
  static Pool& of(int threads) {
    static std::once_flag once;
    std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { instance().release(); }); });
    auto& pool = instance();
    if (!pool || pool->size_ != threads) pool.reset(new Pool(threads));
    return *pool;
  }

  static std::mutex& mutex() {
    static std::mutex one_caller;
    return one_caller;
  }

  // In `each` slices for every thread: more than one where they take unlike times, or a thread may be asleep.
  void run(const std::function<void()>& kernel, int each = 1) {
    keep_apart();
    kernel_ = &kernel;
    pending_.store(each * size_, std::memory_order_relaxed);
    next_round(each * size_);
    while (take_one()) {
    }
    frt_worker = {0, 1};
    const auto done = [this] { return pending_.load(std::memory_order_acquire) == 0; };
    while (!soon(done, 5)) std::this_thread::yield();
  }

  // A job beside whatever comes next, for one thread: a worker's if it is free before `wait`, else the caller's. Where
  // one is under way already, it is waited for. Returns the job's number.
  int post(std::function<void()> job) {
    wait();
    job_ = std::move(job);
    posted_.store(POSTED);
    const int number = ++posts_;
    if (threads_.empty()) {
      wait();
    } else {
      keep_apart();
      rouse();
    }
    return number;
  }

  // Until the job of that number is done: before another was posted it was.
  void wait(int number) {
    if (number == posts_) wait();
  }

  // Until what was posted is done.
  void wait() {
    if (take_posted()) return;
    const auto done = [this] { return posted_.load() == NONE; };
    while (!soon(done, 5)) std::this_thread::yield();
  }

  ~Pool() {
    wait();
    stopping_ = true;
    next_round(0);
    for (auto& thread : threads_) thread.join();
  }

 private:
  explicit Pool(int threads) : size_(threads) {
#if defined(__linux__)
    CPU_ZERO(&allowed_);
    sched_getaffinity(0, sizeof(allowed_), &allowed_);
#endif
    for (int k = 1; k < threads; ++k) threads_.emplace_back([this] { work(); });
  }

  static std::unique_ptr<Pool>& instance() {
    static std::unique_ptr<Pool> pool;
    return pool;
  }

  // Whether it happens in the next microseconds: to sleep, or to leave the core to others, would take longer.
  template <typename Event>
  static bool soon(Event event, int microseconds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
    do {
      if (event()) return true;
      pause();
    } while (std::chrono::steady_clock::now() < until);
    return event();
  }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  // Bars the workers from the caller's own core. A scheduler likes to wake a thread where its waker runs: after a
  // pause both would share one core for milliseconds while another idles.
  void keep_apart() {
#if defined(__linux__)
    const int core = sched_getcpu();
    if (core == barred_ || core < 0 || threads_.empty()) return;
    cpu_set_t cores = allowed_;
    CPU_CLR(core, &cores);
    if (CPU_COUNT(&cores) == 0) return;
    for (auto& thread : threads_) pthread_setaffinity_np(thread.native_handle(), sizeof(cores), &cores);
    barred_ = core;
#endif
  }

  // What was written before is seen by all workers. Either this sees a sleeper, or the sleeper sees the round:
  // each writes its own before it reads the other's, all in one order.
  void next_round(int slices) {
    ticket_.store((((ticket_.load() >> 32) + 1) << 32) | ((unsigned long long)(slices) << 16));
    rouse();
  }

  void rouse() {
    if (sleepers_.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex_); }  // a sleeper between its look and its sleep
    wake_.notify_all();
  }

  // Runs a slice that nobody has taken yet; false where there is none. The round cannot end, and `kernel_` not
  // change, before it is done.
  bool take_one() {
    unsigned long long ticket = ticket_.load();
    do {
      if (!left(ticket)) return false;
    } while (!ticket_.compare_exchange_weak(ticket, ticket + 1));
    frt_worker = {int(ticket & 0xffffu), slices_of(ticket)};
    (*kernel_)();
    pending_.fetch_sub(1, std::memory_order_release);
    return true;
  }

  // Does the posted job, unless another does; false where there was none to do.
  bool take_posted() {
    int posted = POSTED;
    if (!posted_.compare_exchange_strong(posted, TAKEN)) return false;
    frt_worker = {0, 1};
    job_();
    posted_.store(NONE);
    return true;
  }

  static int slices_of(unsigned long long ticket) { return int((ticket >> 16) & 0xffffu); }
  static bool left(unsigned long long ticket) { return int(ticket & 0xffffu) < slices_of(ticket); }

  void work() {
    const auto called = [this] {
      return stopping_.load() || left(ticket_.load()) || posted_.load() == POSTED;
    };
    while (true) {
      if (!soon(called, 100)) {  // the kernels of one answer follow each other closely
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, called);
        sleepers_.fetch_sub(1);
      }
      if (stopping_) return;
      if (!take_posted()) take_one();
    }
  }

  const int size_;
#if defined(__linux__)
  cpu_set_t allowed_;  // none, where asking failed: then the threads stay where they are
  int barred_ = -1;
#endif
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  const std::function<void()>* kernel_ = nullptr;
  enum { NONE, POSTED, TAKEN };
  std::function<void()> job_;
  int posts_ = 0;
  std::atomic<int> posted_{NONE};
  std::atomic<unsigned long long> ticket_{0};  // the round, how many slices it has, and the next of them
  std::atomic<int> pending_{0}, sleepers_{0};
  std::atomic<bool> stopping_{false};
};
