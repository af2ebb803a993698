// The library's own threads. They are made when they are first wanted, sleep when there is nothing to do, and live as
// long as the process.
#include "threads.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sched.h>
#endif

#include "api.h"
#include "errors.h"

namespace {

constexpr int64_t kMostThreads = 256;
constexpr int kLooks = 400;  // before a thread goes to sleep: some ten microseconds, about what waking it would take

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Looks now and then, for a short while, whether `ready()`.
template <class Ready>
void look(const Ready& ready) {
  for (int i = 0; i < kLooks && !ready(); ++i) pause();
}

// A call of run_on_threads. `wanted` and joining are guarded by the pool's lock.
struct Job {
  void (*entry)(void*);
  void* data;
  int64_t wanted;               // threads that may still join
  std::atomic<int64_t> inside;  // that have joined and are not done
  Job* next;
  std::condition_variable done;
};

class Pool {
 public:
  void run(int64_t helpers, void (*entry)(void*), void* data) {
    Job job{entry, data, helpers, {0}, nullptr, {}};
    {
      const std::lock_guard<std::mutex> guard(lock_);
      grow(helpers);
      job.next = open_;
      open_ = &job;
      any_open_.store(true, std::memory_order_relaxed);
    }
    for (int64_t i = 0; i < helpers; ++i) wake_.notify_one();
    entry(data);
    {
      const std::lock_guard<std::mutex> guard(lock_);
      if (job.wanted > 0) close(&job);
    }
    look([&] { return job.inside.load(std::memory_order_relaxed) == 0; });
    std::unique_lock<std::mutex> guard(lock_);
    job.done.wait(guard, [&] { return job.inside == 0; });
  }

 private:
  // A thread that cannot be had is done without: the others take its tasks.
  void grow(int64_t helpers) {
    try {
      for (; threads_ < helpers; ++threads_) std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {
    }
  }

  void close(Job* job) {
    Job** link = &open_;
    while (*link != job) link = &(*link)->next;
    *link = job->next;
    any_open_.store(open_ != nullptr, std::memory_order_relaxed);
  }

  [[noreturn]] void serve() {
    std::unique_lock<std::mutex> guard(lock_);
    for (;;) {
      if (!open_) {
        guard.unlock();
        look([&] { return any_open_.load(std::memory_order_relaxed); });
        guard.lock();
        wake_.wait(guard, [&] { return open_ != nullptr; });
      }
      Job* job = open_;
      if (--job->wanted == 0) close(job);
      ++job->inside;
      guard.unlock();
      job->entry(job->data);
      guard.lock();
      if (--job->inside == 0) job->done.notify_one();
    }
  }

  std::mutex lock_;
  std::condition_variable wake_;
  Job* open_ = nullptr;  // jobs that threads may join
  std::atomic<bool> any_open_{false};
  int64_t threads_ = 0;
};

// Never destroyed: its threads may be at work when the process ends.
std::atomic<Pool*> the_pool{nullptr};

// A forked process has none of the threads, and a lock that may be held by one of them.
void forget_pool() { the_pool = new (std::nothrow) Pool; }

// Null if there is no memory for it: who asks works alone.
Pool* pool() {
  static const bool made = [] {
    forget_pool();
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, forget_pool);
#endif
    return true;
  }();
  (void)made;
  return the_pool;
}

// The cores that the process may use.
int64_t cores() {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return CPU_COUNT(&allowed);
#endif
  return std::thread::hardware_concurrency();
}

// What OMP_NUM_THREADS says, as for other libraries; else as many as there are cores.
int64_t usual_threads() {
  static const int64_t count = [] {
    const char* text = std::getenv("OMP_NUM_THREADS");
    const long wanted = text ? std::strtol(text, nullptr, 10) : 0;
    return wanted > 0 ? int64_t(wanted) : cores();
  }();
  return std::clamp<int64_t>(count, 1, kMostThreads);
}

thread_local int64_t limit = 0;  // of threads for calls from this one; 0: the usual number
thread_local void* other_self = nullptr;
thread_local segtool::ThreadsOf::Run other_run = nullptr;

}  // namespace

int segtool_limit_threads(int threads) {
  if (threads < 0) return segtool::fail("threads must not be negative");
  limit = std::min<int64_t>(threads, kMostThreads);
  return 0;
}

void segtool::run_on_threads(int64_t copies, void (*entry)(void*), void* data) {
  if (other_run) return other_run(other_self, std::min(copies, kMostThreads), entry, data);
  const int64_t threads = std::min(copies, limit ? limit : usual_threads());
  Pool* others = threads > 1 ? pool() : nullptr;
  if (!others) return entry(data);
  others->run(threads - 1, entry, data);
}

segtool::ThreadsOf::ThreadsOf(void* self, Run run) {
  other_self = self;
  other_run = run;
}

segtool::ThreadsOf::~ThreadsOf() { other_run = nullptr; }
