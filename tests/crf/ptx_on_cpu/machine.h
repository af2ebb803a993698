// What PTX instructions do, and what a thread of a kernel may touch. translate.py makes C++ of PTX that calls it.
#pragma once
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

constexpr int kEnded = -1, kFaulted = -2;  // where a thread is; else the number of the barrier it waits at

// A block's shared memory, and of each word who wrote and read it since the last barrier.
struct Shared {
  struct Word {
    int writer = kNobody, reader = kNobody;
    bool written = false;
  };
  static constexpr int kNobody = -1, kSeveral = -2;
  std::vector<float> bytes;
  std::vector<Word> words;

  explicit Shared(size_t size) : bytes(size / 4), words(size / 4) {}
  void barrier() {
    for (Word& word : words) word.writer = word.reader = kNobody;
  }
};

struct Block {
  int64_t index;
  int threads;
  Shared shared;
  std::string fault;  // what a thread did that it must not
};

// Whether memory is somebody's: told by the address sanitizer, where there is one.
bool allocated(uint64_t at, uint64_t size);

// Counted if somebody wants to know.
#if defined(SEGTOOL_COUNT)
#define COUNT(opcode) ++counts[opcode]
#else
#define COUNT(opcode) static_cast<void>(0)
#endif

struct Thread {
  int index;
  Block* block;
  uint64_t* counts;  // of the kernel: of each opcode

  // Where an access goes; null, with the block's fault told, if it may not.
  char* global_read(uint64_t at, uint64_t size) { return global_write(at, size); }
  char* global_write(uint64_t at, uint64_t size) {
    if (!aligned("global", at, size)) return nullptr;
    return allocated(at, size) ? reinterpret_cast<char*>(at) : fault("accesses memory that is nobody's", at);
  }
  char* local_read(uint64_t at, uint64_t size) { return local_write(at, size); }
  char* local_write(uint64_t at, uint64_t size) {
    return aligned("local", at, size) ? reinterpret_cast<char*>(at) : nullptr;
  }
  char* shared_read(uint64_t at, uint64_t size) {
    if (!shared_access(at, size)) return nullptr;
    for (uint64_t i = at / 4; i < (at + size) / 4; ++i) {
      Shared::Word& word = block->shared.words[i];
      if (!word.written) return fault("reads shared memory that nobody wrote", at);
      if (word.writer != Shared::kNobody && word.writer != index) {
        return fault("reads what another writes, without a barrier between them,", at);
      }
      word.reader = word.reader == Shared::kNobody || word.reader == index ? index : Shared::kSeveral;
    }
    return shared_memory(at);
  }
  char* shared_write(uint64_t at, uint64_t size) {
    if (!shared_access(at, size)) return nullptr;
    for (uint64_t i = at / 4; i < (at + size) / 4; ++i) {
      Shared::Word& word = block->shared.words[i];
      const bool others_wrote = word.writer != Shared::kNobody && word.writer != index;
      const bool others_read = word.reader != Shared::kNobody && word.reader != index;
      if (others_wrote || others_read) return fault("writes what another uses, without a barrier between them,", at);
      word.writer = index;
      word.written = true;
    }
    return shared_memory(at);
  }

 private:
  char* shared_memory(uint64_t at) { return reinterpret_cast<char*>(block->shared.bytes.data()) + at; }
  bool shared_access(uint64_t at, uint64_t size) {
    if (!aligned("shared", at, size)) return false;
    if (size % 4) return fault("accesses less than a word of shared memory, unknown to the stand-in,", at);
    if (at + size > 4 * block->shared.words.size()) return fault("is beyond the block's shared memory", at);
    return true;
  }
  bool aligned(const char* space, uint64_t at, uint64_t size) {
    return at % size == 0 || fault(std::string("accesses ") + space + " memory out of line", at);
  }
  char* fault(const std::string& what, uint64_t at) {
    if (block->fault.empty()) {
      block->fault = "thread " + std::to_string(index) + " of block " + std::to_string(block->index) + " " + what +
                     " at " + std::to_string(at);
    }
    return nullptr;
  }
};

// Runs a thread to its next barrier or its end; `frame` holds its registers.
using Run = int (*)(Thread& thread, void* frame, void* const* arguments);

// `opcodes` of the kernel, ended by null.
struct Registered {
  Registered(const char* name, Run run, size_t frame_bytes, const char* const* opcodes);
};

template <class T>
uint64_t address(T& array) {
  return reinterpret_cast<uint64_t>(&array);
}

template <class To, class From>
To bits(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  std::memcpy(&out, &value, sizeof(out));
  return out;
}

// A register, or part of one, as the instruction's type.
template <class T, class From>
T as(From value) {
  if constexpr (sizeof(T) == sizeof(From)) {
    return bits<T>(value);
  } else {
    static_assert(std::is_integral_v<T> && std::is_integral_v<From>);
    return T(value);
  }
}

// A result into a register, which may be wider.
template <class To, class From>
void assign(To& to, From value) {
  to = as<To>(value);
}

template <class T>
T load(const char* from, int i) {
  T value;
  std::memcpy(&value, from + sizeof(T) * i, sizeof(T));
  return value;
}
template <class T>
void store(char* to, int i, T value) {
  std::memcpy(to + sizeof(T) * i, &value, sizeof(T));
}

inline uint64_t joined(uint32_t low, uint32_t high) { return uint64_t(high) << 32 | low; }
inline void split(uint64_t value, uint32_t& low, uint32_t& high) {
  low = uint32_t(value);
  high = uint32_t(value >> 32);
}

// Integers wrap around.
template <class T>
using Wrapping = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::decay<T>>::type;
template <class T>
T ptx_add(T a, T b) {
  return T(Wrapping<T>(a) + Wrapping<T>(b));
}
template <class T>
T ptx_sub(T a, T b) {
  return T(Wrapping<T>(a) - Wrapping<T>(b));
}
template <class T>
T ptx_mul_lo(T a, T b) {
  return T(Wrapping<T>(a) * Wrapping<T>(b));
}
template <class T>
T ptx_mad_lo(T a, T b, T c) {
  return ptx_add<T>(ptx_mul_lo<T>(a, b), c);
}
template <class T>
using Wide = std::conditional_t<sizeof(T) == 8, std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>,
                                std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;
template <class T>
Wide<T> ptx_mul_wide(T a, T b) {
  return Wide<T>(a) * Wide<T>(b);
}
template <class T>
T ptx_mul_hi(T a, T b) {
  return T(ptx_mul_wide<T>(a, b) >> (8 * sizeof(T)));
}
template <class T>
T ptx_neg(T a) {
  if constexpr (std::is_integral_v<T>) return T(Wrapping<T>(0) - Wrapping<T>(a));
  return -a;
}
template <class T>
T ptx_abs(T a) {
  return a < 0 || (std::is_floating_point_v<T> && std::signbit(double(a))) ? ptx_neg<T>(a) : a;
}
// What a division by zero gives is undefined; here it ends the process, which no test overlooks.
template <class T>
T ptx_div(T a, T b) {
  return b == T(-1) && std::is_signed_v<T> ? ptx_neg<T>(a) : T(a / b);
}
template <class T>
T ptx_rem(T a, T b) {
  return b == T(-1) && std::is_signed_v<T> ? T(0) : T(a % b);
}
template <class T>
T ptx_min(T a, T b) {
  static_assert(std::is_integral_v<T>);
  return b < a ? b : a;
}
template <class T>
T ptx_max(T a, T b) {
  static_assert(std::is_integral_v<T>);
  return a < b ? b : a;
}

template <class T>
T ptx_and(T a, T b) {
  return a & b;
}
template <class T>
T ptx_or(T a, T b) {
  return a | b;
}
template <class T>
T ptx_xor(T a, T b) {
  return a ^ b;
}
template <class T>
T ptx_not(T a) {
  if constexpr (std::is_same_v<T, bool>) return !a;
  return T(~a);
}
inline uint64_t amount(uint64_t operand) { return uint32_t(operand); }  // a register of 32 bits
template <class T>
T ptx_shl(T a, T by) {
  return amount(by) >= 8 * sizeof(T) ? T(0) : T(a << amount(by));
}
template <class T>
T ptx_shr(T a, T by) {
  const uint64_t most = 8 * sizeof(T) - 1;
  if (amount(by) > most) return std::is_signed_v<T> ? T(a >> most) : T(0);
  return T(a >> amount(by));
}
// Four bytes chosen from eight.
template <class T>
uint32_t ptx_prmt(uint32_t a, uint32_t b, uint32_t choice) {
  const uint64_t all = joined(a, b);
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t chosen = choice >> (4 * i) & 0xF;
    const uint32_t byte = uint32_t(all >> (8 * (chosen & 7))) & 0xFF;
    out |= (chosen & 8 ? (byte & 0x80 ? 0xFFu : 0u) : byte) << (8 * i);
  }
  return out;
}

template <class T>
T ptx_add_rn(T a, T b) {
  return a + b;
}
template <class T>
T ptx_mul_rn(T a, T b) {
  return a * b;
}
template <class T>
T ptx_mul(T a, T b) {
  return a * b;
}
template <class T>
T ptx_div_rn(T a, T b) {
  return a / b;
}
template <class T>
T ptx_fma_rn(T a, T b, T c) {
  return std::fma(a, b, c);
}
template <class T>
T ptx_fma_rm(T a, T b, T c) {
  std::fesetround(FE_DOWNWARD);
  volatile T x = a, y = b, z = c;  // not computed at another place, where the rounding is another
  const volatile T result = std::fma(x, y, z);
  std::fesetround(FE_TONEAREST);
  return result;
}
template <class T>
T ptx_rcp_rn(T a) {
  return T(1) / a;
}
template <class T>
T ptx_sqrt_rn(T a) {
  return std::sqrt(a);
}
template <class T>
T ptx_ex2_approx_ftz(T a) {
  return std::exp2(a);
}

template <class To, class From>
To ptx_cvt(From a) {
  return To(a);
}
template <class To, class From>
To ptx_cvt_rn(From a) {
  return To(a);
}
template <class To, class From>
To ptx_cvt_rni(From a) {
  return std::nearbyint(a);
}
template <class To, class From>
To ptx_cvt_rmi(From a) {
  return std::floor(a);
}
template <class To, class From>
To ptx_cvt_rpi(From a) {
  return std::ceil(a);
}
// Clamped to what the integer can be.
template <class To, class From>
To ptx_cvt_rzi(From a) {
  if (std::isnan(a)) return sizeof(To) == 8 ? std::numeric_limits<To>::min() : To(0);
  if (double(a) >= double(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  if (double(a) <= double(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  return To(a);
}
template <class To, class From>
To ptx_cvt_sat(From a) {
  return a > From(0) ? (a < From(1) ? To(a) : To(1)) : To(0);  // 0 for NaN
}

// A comparison with NaN is false, of those that end on u true.
template <class T>
bool ptx_setp_eq(T a, T b) {
  return a == b;
}
template <class T>
bool ptx_setp_ne(T a, T b) {
  return a < b || a > b;
}
template <class T>
bool ptx_setp_lt(T a, T b) {
  return a < b;
}
template <class T>
bool ptx_setp_le(T a, T b) {
  return a <= b;
}
template <class T>
bool ptx_setp_gt(T a, T b) {
  return a > b;
}
template <class T>
bool ptx_setp_ge(T a, T b) {
  return a >= b;
}
template <class T>
bool ptx_setp_leu(T a, T b) {
  return !(a > b);
}
template <class T>
bool ptx_setp_gtu(T a, T b) {
  return !(a <= b);
}
template <class T>
bool ptx_setp_geu(T a, T b) {
  return !(a < b);
}
template <class T>
bool ptx_setp_nan(T a, T b) {
  return std::isnan(a) || std::isnan(b);
}

template <class T, class Change>
T changed(char* at, const Change& change) {
  const T old = load<T>(at, 0);
  store<T>(at, 0, change(old));
  return old;
}
template <class T>
T ptx_atom_add(char* at, T value) {
  return changed<T>(at, [=](T old) { return ptx_add<T>(old, value); });
}
template <class T>
T ptx_atom_cas(char* at, T expected, T value) {
  return changed<T>(at, [=](T old) { return old == expected ? value : old; });
}
template <class T>
T ptx_atom_or(char* at, T value) {
  return changed<T>(at, [=](T old) { return old | value; });
}
template <class T>
T ptx_atom_max(char* at, T value) {
  return changed<T>(at, [=](T old) { return ptx_max<T>(old, value); });
}
