// Work that several threads share.
//
// Whoever is awake takes the next task, and who waits sleeps. So a thread that the system has taken off its core, because
// the machine does other work too, holds up the task that it is at, and no other.
#pragma once
#include <atomic>
#include <cstdint>
#include <new>

namespace segtool {

// The numbers from 0 to count - 1, each handed out once.
class Tasks {
 public:
  explicit Tasks(int64_t count) : count_(count) {}
  bool left() const { return next_.load(std::memory_order_relaxed) < count_; }
  bool next(int64_t* task) {
    *task = next_.fetch_add(1, std::memory_order_relaxed);
    return *task < count_;
  }

 private:
  const int64_t count_;
  std::atomic<int64_t> next_{0};
};

// Calls entry(data) on this thread and on up to `copies` - 1 others, and returns when all calls have.
void run_on_threads(int64_t copies, void (*entry)(void*), void* data);

// Calls work(tasks) on this thread and on others until all of `count` tasks are done. False if memory ran out in one.
template <class Work>
bool share(int64_t count, const Work& work) {
  struct Shared {
    Tasks tasks;
    const Work& work;
    std::atomic<bool> enough{true};
  } shared{Tasks(count), work};
  const auto entry = [](void* data) {
    Shared& s = *static_cast<Shared*>(data);
    try {
      if (s.tasks.left()) s.work(s.tasks);  // who comes late need not get ready
    } catch (...) {  // memory is all that they may lack
      s.enough = false;
    }
  };
  run_on_threads(count, entry, &shared);
  return shared.enough;
}

// Calls body(i) for i in [0, count).
template <class Body>
bool share_each(int64_t count, const Body& body) {
  return share(count, [&](Tasks& tasks) {
    for (int64_t i; tasks.next(&i);) body(i);
  });
}

// While it lives, work of this thread is run by `run` instead of the library's own threads; `run` does what run_on_threads
// does, with `self`.
class ThreadsOf {
 public:
  using Run = void (*)(void* self, int64_t copies, void (*entry)(void*), void* data);
  ThreadsOf(void* self, Run run);
  ~ThreadsOf();
  ThreadsOf(const ThreadsOf&) = delete;
  ThreadsOf& operator=(const ThreadsOf&) = delete;
};

}  // namespace segtool
