// SPDX-License-Identifier: Apache-2.0
// Hopper's own instructions (sm_90a): the bulk tensor copy engine (TMA), transaction barriers and warpgroup products (wgmma).
#pragma once
#include "primitives.cuh"

struct alignas(64) TensorMap {  // a CUtensorMap, made by the driver
  u64 opaque[16];
};

__device__ __forceinline__ unsigned cluster_rank() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Waits for all threads of the cluster; of what they wrote, only barriers behind fence_barrier_init are sure to be seen.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

__device__ __forceinline__ void barrier_init(u64* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Makes initialized barriers visible to the cluster and to the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
}

// Arrives once and adds so many bytes to what the barrier waits for.
__device__ __forceinline__ void barrier_expect(u64* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}

// Arrives once at the barrier of that place in the block of that rank. Says that a stage has been read, and hands no data over: a
// release to the cluster would be a fence of the whole GPU's memory (docs/gpu.md, "Barriers").
__device__ __forceinline__ void barrier_arrive(u64* barrier, unsigned rank) {
  asm volatile(
      "{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\nmbarrier.arrive.shared::cluster.b64 _, [remote];\n}"
      ::"r"(shared_address(barrier)), "r"(rank) : "memory");
}

// Waits until the phase of that parity is complete; what the copy engine counted on it can then be read.
__device__ __forceinline__ void barrier_wait(u64* barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred done;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra DONE;\nbra WAIT;\nDONE:\n}"
      ::"r"(shared_address(barrier)), "r"(parity) : "memory");
}

__device__ __forceinline__ void prefetch_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Copies the map's box at byte `column` of row `row` to `to`, here and, by `blocks` (a bit for each rank), to the same place in
// other blocks of the cluster; the bytes count on the barrier of the same place in each of them.
__device__ __forceinline__ void copy_box(void* to, const TensorMap* map, int column, int row, u64* barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
               ::"r"(shared_address(to)), "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ void copy_box(void* to, const TensorMap* map, int column, int row, u64* barrier, unsigned short blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;"
      ::"r"(shared_address(to)), "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier)), "h"(blocks) : "memory");
}

template <int REGISTERS>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// Keeps the compiler from moving an access to the sums over this place: it does not know that products write them later on.
template <int SUMS>
__device__ __forceinline__ void hold(int (&sums)[SUMS]) {
#pragma unroll
  for (int i = 0; i < SUMS; ++i) asm volatile("" : "+r"(sums[i])::"memory");
}

// Orders what was done to the sums before the products that follow.
template <int SUMS>
__device__ __forceinline__ void products_fence(int (&sums)[SUMS]) {
  hold(sums);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups of products are under way; with none, the sums can be read.
template <int PENDING, int SUMS>
__device__ __forceinline__ void products_wait(int (&sums)[SUMS]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
  hold(sums);
}

// A descriptor of rows of 128 bytes with the 128-byte swizzle: address, leading offset 1 (unused), 1024 bytes from 8 rows to the
// next, layout 1. + 2 goes on by 32 bytes of K.
__device__ __forceinline__ u64 descriptor(const void* tile) {
  return (u64(shared_address(tile)) & 0x3ffff) >> 4 | u64(1) << 16 | u64(1024 >> 4) << 32 | u64(1) << 62;
}

#define BNN_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define BNN_NAMES_32 BNN_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define BNN_NAMES_128 BNN_NAMES_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55" \
  ", %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103" \
  ", %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define BNN_SUMS_8(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3]), "+r"(d[i + 4]), "+r"(d[i + 5]), "+r"(d[i + 6]), "+r"(d[i + 7])
#define BNN_SUMS_32(i) BNN_SUMS_8(i), BNN_SUMS_8(i + 8), BNN_SUMS_8(i + 16), BNN_SUMS_8(i + 24)
#define BNN_SUMS_128(i) BNN_SUMS_32(i), BNN_SUMS_32(i + 32), BNN_SUMS_32(i + 64), BNN_SUMS_32(i + 96)
#define BNN_WGMMA(NAME, SUMS, A, B, ACCUMULATE)                                                                        \
  asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, " ACCUMULATE ", 0;\n"                                \
               "wgmma.mma_async.sync.aligned." NAME " {" BNN_NAMES_##SUMS "}, " A ", " B ", accumulate;\n}"              \
               : BNN_SUMS_##SUMS(0) : "l"(a), "l"(b), "r"(int(accumulate)))
#define BNN_WGMMA_COLUMNS(TYPES, OPERATION)                                     \
  if constexpr (COLUMNS == 256) BNN_WGMMA("m64n256" TYPES OPERATION, 128, "%128", "%129", "%130"); \
  if constexpr (COLUMNS == 64) BNN_WGMMA("m64n64" TYPES OPERATION, 32, "%32", "%33", "%34");       \
  if constexpr (COLUMNS == 16) BNN_WGMMA("m64n16" TYPES OPERATION, 8, "%8", "%9", "%10")

// d = a * b, or d += a * b, for 64 rows (16 a warp), 256, 64 or 16 columns and 32 bytes of K. With g = lane / 4, q = lane % 4:
// d[4 j + 2 h + e] is row g + 8 h of the warp's and column 8 j + 2 q + e.
template <Product PRODUCT, int COLUMNS>
__device__ __forceinline__ void multiply_64(int (&d)[COLUMNS / 2], u64 a, u64 b, bool accumulate) {
  if constexpr (PRODUCT == AND) { BNN_WGMMA_COLUMNS("k256.s32.b1.b1", ".and.popc"); }
  if constexpr (PRODUCT == U8) { BNN_WGMMA_COLUMNS("k32.s32.u8.s8", ""); }
  if constexpr (PRODUCT == S8) { BNN_WGMMA_COLUMNS("k32.s32.s8.s8", ""); }
}
#undef BNN_NAMES_8
#undef BNN_NAMES_32
#undef BNN_NAMES_128
#undef BNN_SUMS_8
#undef BNN_SUMS_32
#undef BNN_SUMS_128
#undef BNN_WGMMA
#undef BNN_WGMMA_COLUMNS
