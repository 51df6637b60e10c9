// A few threads that wait for the next kernel. The caller is worker 0; a kernel returns when all have run it.
#pragma once

#include <pthread.h>

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

  void run(const std::function<void()>& kernel) {
    kernel_ = &kernel;
    pending_.store(size_ - 1, std::memory_order_relaxed);
    next_round();
    frt_worker = {0, size_};
    kernel();
    frt_worker = {0, 1};
    const auto done = [this] { return pending_.load(std::memory_order_acquire) == 0; };
    while (!soon(done)) std::this_thread::yield();
  }

  ~Pool() {
    stopping_ = true;
    next_round();
    for (auto& thread : threads_) thread.join();
  }

 private:
  explicit Pool(int threads) : size_(threads) {
    for (int k = 1; k < threads; ++k) threads_.emplace_back([this, k] { work(k); });
  }

  static std::unique_ptr<Pool>& instance() {
    static std::unique_ptr<Pool> pool;
    return pool;
  }

  // Whether it happens in the next 5 microseconds. The kernels of one call follow each other closely, and their
  // workers end together: to sleep or to leave the core to others would take longer.
  template <typename Event>
  static bool soon(Event event) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(5);
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

  // What was written before is seen by all workers. Either this sees a sleeper, or the sleeper sees the round:
  // each writes its own before it reads the other's, all in one order.
  void next_round() {
    round_.fetch_add(1);
    if (sleepers_.load() == 0) return;
    { std::lock_guard<std::mutex> lock(mutex_); }  // a sleeper between its look and its sleep
    wake_.notify_all();
  }

  void work(int index) {
    for (unsigned seen = 0;; ++seen) {
      const auto called = [&] { return round_.load() != seen; };
      if (!soon(called)) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, called);
        sleepers_.fetch_sub(1);
      }
      if (stopping_) return;
      frt_worker = {index, size_};
      (*kernel_)();
      pending_.fetch_sub(1, std::memory_order_release);
    }
  }

  const int size_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_;
  const std::function<void()>* kernel_ = nullptr;
  std::atomic<unsigned> round_{0};
  std::atomic<int> pending_{0}, sleepers_{0};
  bool stopping_ = false;
};
