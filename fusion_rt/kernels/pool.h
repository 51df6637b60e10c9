// A few threads that wait for the next kernel. The caller is worker 0; a kernel returns when all have run it.
#pragma once

#include <pthread.h>

#include <atomic>
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
    if (size_ > 1) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
        kernel_ = &kernel;
        pending_.store(size_ - 1, std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
      }
      wake_.notify_all();
    }
    frt_worker = {0, size_};
    kernel();
    frt_worker = {0, 1};
    for (int spins = 0; pending_.load(std::memory_order_acquire) > 0;)
      if (++spins > 2000) std::this_thread::yield();
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
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

  void work(int index) {
    unsigned seen = 0;
    for (;;) {
      // The kernels of one call follow each other closely: look a few microseconds before sleeping.
      for (int spins = 0; spins < 4000 && round_.load(std::memory_order_acquire) == seen; ++spins) {
      }
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
        seen = round_.load(std::memory_order_acquire);
        if (stopping_) return;
      }
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
  std::atomic<int> pending_{0};
  bool stopping_ = false;
};
