// SPDX-License-Identifier: Apache-2.0
// Hopper's primitives on a CPU: barriers with transaction counts, boxes copied with the 128-byte swizzle, warpgroup products that read
// shared memory through their descriptors when they are waited for.
#pragma once
#include "primitives.cuh"

struct alignas(64) TensorMap {  // as the emulated device makes it: address, bytes of a row, rows, bytes from row to row, rows of a box
  u64 opaque[16];
};

namespace emulator {
struct Barrier { int bytes; short pending; unsigned char count, phase; };
static_assert(sizeof(Barrier) == 8);

inline void settle(Barrier& barrier) {
  idle = 0;
  if (barrier.pending < 0) failed = true;
  if (barrier.pending == 0 && barrier.bytes == 0) barrier.phase ^= 1, barrier.pending = barrier.count;
}
inline Barrier& barrier_of(const void* barrier, unsigned rank) {
  return *reinterpret_cast<Barrier*>(cluster->blocks[rank]->memory + shared_address(barrier));
}
inline unsigned swizzled(unsigned address) { return address ^ (address >> 7 & 7) << 4; }
inline unsigned char byte_at(u64 descriptor, int row, int byte) {  // of an operand of rows of 128 bytes
  const unsigned start = (descriptor & 0x3fff) << 4, rows8 = (descriptor >> 32 & 0x3fff) << 4;
  if (descriptor >> 62 != 1) failed = true;
  return current->block->memory[swizzled(start + row / 8 * rows8 + row % 8 * 128 + byte)];
}
}  // namespace emulator

inline unsigned cluster_rank() { return emulator::current->block->rank; }
inline void cluster_sync() { emulator::meet(*emulator::cluster); }
inline void barrier_init(u64* barrier, int arrivals) {
  emulator::barrier_of(barrier, cluster_rank()) = {0, short(arrivals), (unsigned char)(arrivals), 0};
}
inline void fence_barrier_init() {}
inline void barrier_expect(u64* barrier, unsigned bytes) {
  auto& own = emulator::barrier_of(barrier, cluster_rank());
  own.bytes += bytes, --own.pending;
  emulator::settle(own);
}
inline void barrier_arrive(u64* barrier, unsigned rank) {
  auto& there = emulator::barrier_of(barrier, rank);
  --there.pending;
  emulator::settle(there);
}
inline void barrier_wait(u64* barrier, unsigned parity) {
  auto& own = emulator::barrier_of(barrier, cluster_rank());
  emulator::give_way();
  emulator::wait_until([&] { return own.phase != parity; });
}
inline void prefetch_map(const TensorMap*) {}

inline void copy_box(void* to, const TensorMap* map, int column, int row, u64* barrier, unsigned short blocks) {
  const auto [address, row_bytes, rows, stride, box_rows] = reinterpret_cast<const u64(&)[5]>(map->opaque);
  const unsigned start = shared_address(to);
  if (start % 1024) emulator::failed = true;
  for (unsigned rank = 0; rank < emulator::cluster->blocks.size(); ++rank) {
    if (!(blocks >> rank & 1)) continue;
    for (unsigned r = 0; r < box_rows; ++r)
      for (int c = 0; c < 128; ++c)
        emulator::cluster->blocks[rank]->memory[emulator::swizzled(start + 128 * r + c)] =
            u64(row + r) < rows && u64(column + c) < row_bytes ? reinterpret_cast<const unsigned char*>(address)[(row + r) * stride + column + c] : 0;
    auto& there = emulator::barrier_of(barrier, rank);
    there.bytes -= box_rows * 128;
    emulator::settle(there);
  }
}
inline void copy_box(void* to, const TensorMap* map, int column, int row, u64* barrier) {
  copy_box(to, map, column, row, barrier, 1 << cluster_rank());
}

template <int REGISTERS> void give_registers() {}
template <int REGISTERS> void take_registers() {}
template <int SUMS> void products_fence(int (&)[SUMS]) {}
inline void products_commit() { emulator::commit(emulator::current->products); }
template <int PENDING, int SUMS> void products_wait(int (&)[SUMS]) {
  emulator::give_way();
  emulator::finish(emulator::current->products, PENDING);
}
inline u64 descriptor(const void* tile) {
  return (u64(shared_address(tile)) & 0x3ffff) >> 4 | u64(1) << 16 | u64(1024 >> 4) << 32 | u64(1) << 62;
}

template <Product PRODUCT, int COLUMNS> void multiply_64(int (&d)[COLUMNS / 2], u64 a, u64 b, bool accumulate) {
  const int lane = emulator::current->lane, g = lane / 4, q = lane % 4, first = threadIdx.x / 32 % 4 * 16;
  int* sums = d;
  emulator::current->products.open.push_back([=] {
    auto words = [](u64 operand, int row, unsigned (&out)[8]) {
      for (int i = 0; i < 32; ++i) reinterpret_cast<unsigned char*>(out)[i] = emulator::byte_at(operand, row, i);
    };
    unsigned x[2][8], w[8];
    for (int h = 0; h < 2; ++h) words(a, first + g + 8 * h, x[h]);
    for (int j = 0; j < COLUMNS / 8; ++j)
      for (int e = 0; e < 2; ++e) {
        words(b, 8 * j + 2 * q + e, w);
        for (int h = 0; h < 2; ++h) {
          int& sum = sums[4 * j + 2 * h + e];
          if (!accumulate) sum = 0;
          for (int k = 0; k < 8; ++k) sum += emulator::product_word(PRODUCT, x[h][k], w[k]);
        }
      }
  });
}
