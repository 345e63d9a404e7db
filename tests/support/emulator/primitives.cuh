// SPDX-License-Identifier: Apache-2.0
// CUDA's words and the kernels' primitives on a CPU: a thread of a block is a fiber, and a random one goes on whenever one waits.
// Asynchronous copies and products happen at the last moment that PTX allows, so that a missing wait gives wrong results.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __shared__ static
#define __CUDA_ARCH__ 900

using std::max;
using std::min;
using u64 = unsigned long long;

struct uint2 { unsigned x, y; };
struct uint4 { unsigned x, y, z, w; };
struct int2 { int x, y; };
struct float2 { float x, y; };
struct dim3 { unsigned x, y, z; };

enum Product { POPC = 0, XOR = 1, AND = 2, U8 = 3, S8 = 4 };

namespace emulator {

struct Deferred { std::deque<std::vector<std::function<void()>>> groups; std::vector<std::function<void()>> open; };
struct Rendezvous { unsigned generation = 0; int arrived = 0, members = 0; };
struct Warp : Rendezvous { unsigned char slots[2][32][16]; };
struct Block : Rendezvous { unsigned char* memory; unsigned rank; std::vector<Warp> warps; dim3 index; };
struct Fiber { ucontext_t context; std::vector<unsigned char> stack; dim3 thread; int lane; Block* block; Warp* warp; bool done; Deferred copies, products; };
struct Cluster : Rendezvous { std::vector<std::unique_ptr<Block>> blocks; };

inline ucontext_t scheduler;
inline Fiber* current;
inline Cluster* cluster;
inline dim3 block_dim, grid_dim;
inline long idle = 0;  // polls since anything moved
inline bool failed = false;
constexpr int MEMORY = 228 * 1024;

inline void give_way() { swapcontext(&current->context, &scheduler); }

template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) {
    ++idle;
    give_way();
  }
  idle = 0;
}

inline void meet(Rendezvous& place) {
  const unsigned generation = place.generation;
  if (++place.arrived == place.members) {
    place.arrived = 0;
    ++place.generation;
    idle = 0;
  }
  give_way();
  wait_until([&] { return place.generation != generation; });
}

// Gives every lane of the warp all lanes' values. Two sets of slots, since a lane is one exchange ahead at the most.
template <class T, class Use>
auto exchange(const T& value, Use use) {
  static_assert(sizeof(T) <= 16);
  Warp& warp = *current->warp;
  auto* slots = warp.slots[warp.generation % 2];
  std::memcpy(slots[current->lane], &value, sizeof(T));
  meet(warp);
  return use([slots](int lane) { T other; std::memcpy(&other, slots[lane % 32], sizeof(T)); return other; });
}

inline void commit(Deferred& work) { work.groups.push_back(std::move(work.open)); work.open.clear(); }
inline void finish(Deferred& work, int pending) {
  for (; int(work.groups.size()) > pending; work.groups.pop_front())
    for (auto& action : work.groups.front()) action();
}

inline int product_bytes(Product product, unsigned a, unsigned b) {
  int sum = 0;
  for (int i = 0; i < 4; ++i) sum += (product == U8 ? int(uint8_t(a >> 8 * i)) : int(int8_t(a >> 8 * i))) * int(int8_t(b >> 8 * i));
  return sum;
}
inline int product_word(Product product, unsigned a, unsigned b) {
  if (product == AND) return __builtin_popcount(a & b);
  if (product == XOR) return __builtin_popcount(a ^ b);
  return product_bytes(product, a, b);
}

}  // namespace emulator

#define threadIdx (emulator::current->thread)
#define blockIdx (emulator::current->block->index)
#define blockDim (emulator::block_dim)
#define gridDim (emulator::grid_dim)

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, int shift) { return unsigned((u64(high) << 32 | low) << shift >> 32); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  unsigned out = 0;
  for (int i = 0; i < 4; ++i) out |= unsigned(uint8_t((u64(y) << 32 | x) >> 8 * (selector >> 4 * i & 7))) << 8 * i;
  return out;
}
inline void __syncthreads() { emulator::meet(*emulator::current->block); }
inline void __syncwarp() { emulator::meet(*emulator::current->warp); }
template <class T> T __shfl_sync(unsigned, T value, int lane) { return emulator::exchange(value, [&](auto of) { return of(lane); }); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulator::exchange(value, [&](auto of) { return of(emulator::current->lane ^ mask); });
}
inline unsigned __ballot_sync(unsigned, bool value) {
  return emulator::exchange(value, [](auto of) { unsigned word = 0; for (int i = 0; i < 32; ++i) word |= unsigned(of(i)) << i; return word; });
}

inline unsigned char* dynamic_memory() { return emulator::current->block->memory; }
inline unsigned shared_address(const void* pointer) { return unsigned(static_cast<const unsigned char*>(pointer) - dynamic_memory()); }

template <int BYTES> void copy_async(void* to, const void* from, bool valid) {
  if (reinterpret_cast<uintptr_t>(to) % BYTES || reinterpret_cast<uintptr_t>(from) % BYTES) emulator::failed = true;
  emulator::current->copies.open.push_back([=] { valid ? (void)std::memcpy(to, from, BYTES) : (void)std::memset(to, 0, BYTES); });
}
inline void commit_copies() { emulator::commit(emulator::current->copies); }
template <int PENDING> void wait_copies() { emulator::finish(emulator::current->copies, PENDING); }

inline void load_matrices(unsigned (&r)[4], const void* row) {
  const int lane = emulator::current->lane;
  emulator::exchange(row, [&](auto of) {
    for (int i = 0; i < 4; ++i) std::memcpy(&r[i], static_cast<const unsigned char*>(of(8 * i + lane / 4)) + 4 * (lane % 4), 4);
    return 0;
  });
}

template <Product PRODUCT> void multiply_16x8(int (&c)[4], const unsigned (&a)[4], const unsigned* b) {
  struct Part { unsigned words[4]; };
  unsigned x[2][8], w[2][8];  // rows g and g + 8, columns 2q and 2q + 1, 32 bytes each
  const int g = emulator::current->lane / 4, q = emulator::current->lane % 4;
  emulator::exchange(Part{{a[0], a[1], a[2], a[3]}}, [&](auto of) {
    for (int k = 0; k < 8; ++k) for (int h = 0; h < 2; ++h) x[h][k] = of(4 * g + k % 4).words[h + k / 4 * 2];
    return 0;
  });
  emulator::exchange(Part{{b[0], b[1]}}, [&](auto of) {
    for (int k = 0; k < 8; ++k) for (int e = 0; e < 2; ++e) w[e][k] = of(4 * (2 * q + e) + k % 4).words[k / 4];
    return 0;
  });
  for (int i = 0; i < 4; ++i) for (int k = 0; k < 8; ++k) c[i] += emulator::product_word(PRODUCT, x[i / 2][k], w[i % 2][k]);
}

template <Product PRODUCT> int multiply_bytes(unsigned a, unsigned b, int sum) { return sum + emulator::product_bytes(PRODUCT, a, b); }
inline void launch_dependents() {}
inline void wait_for_dependencies() {}
inline long long clock_cycles() { return 0; }
