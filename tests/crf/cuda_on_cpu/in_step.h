// Threads of a launch in step: none goes on from a look at what others change before all have looked, or have ended.
// Each then acts on what it saw before any other acted, which is as out of date as it can be on a device.
#pragma once
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

class InStep {
 public:
  InStep(int64_t count, const std::function<void(int64_t)>& work) : threads_(size_t(count)), work_(work) {
    current() = this;
    for (now_ = 0; now_ < threads_.size(); ++now_) {
      Thread& thread = threads_[now_];
      getcontext(&thread.context);
      thread.stack.reset(new char[kStack]);
      thread.context.uc_stack.ss_sp = thread.stack.get();
      thread.context.uc_stack.ss_size = kStack;
      thread.context.uc_link = &scheduler_;
      makecontext(&thread.context, begin, 0);
    }
    while (go_on()) {
    }
    current() = nullptr;
  }

  // Until all others have come to a look of theirs too.
  static void wait() {
    if (InStep* all = current()) swapcontext(&all->threads_[all->now_].context, &all->scheduler_);
  }

  // Steps that an addition takes. Where all threads add to one place they queue, and others go on meanwhile.
  static int& lag() {
    static int steps = 0;
    return steps;
  }

 private:
  static constexpr size_t kStack = 1 << 15;
  struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool ended = false;
  };

  static InStep*& current() {
    static InStep* all = nullptr;
    return all;
  }
  static void begin() {
    InStep* all = current();
    all->work_(int64_t(all->now_));
    all->threads_[all->now_].ended = true;
  }
  // One step of every thread; false if all have ended.
  bool go_on() {
    bool any = false;
    for (now_ = 0; now_ < threads_.size(); ++now_) {
      if (threads_[now_].ended) continue;
      any = true;
      swapcontext(&scheduler_, &threads_[now_].context);
    }
    return any;
  }

  std::vector<Thread> threads_;
  const std::function<void(int64_t)>& work_;
  ucontext_t scheduler_;
  size_t now_ = 0;
};
