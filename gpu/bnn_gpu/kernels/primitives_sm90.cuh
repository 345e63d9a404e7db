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
__device__ __forceinline__ void hold(int (&sums)[128]) {
#pragma unroll
  for (int i = 0; i < 128; ++i) asm volatile("" : "+r"(sums[i])::"memory");
}

// Orders what was done to the sums before the products that follow.
__device__ __forceinline__ void products_fence(int (&sums)[128]) {
  hold(sums);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most PENDING groups of products are under way; with none, the sums can be read.
template <int PENDING>
__device__ __forceinline__ void products_wait(int (&sums)[128]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
  hold(sums);
}

// A descriptor of rows of 128 bytes with the 128-byte swizzle: address, leading offset 1 (unused), 1024 bytes from 8 rows to the
// next, layout 1. + 2 goes on by 32 bytes of K.
__device__ __forceinline__ u64 descriptor(const void* tile) {
  return (u64(shared_address(tile)) & 0x3ffff) >> 4 | u64(1) << 16 | u64(1024 >> 4) << 32 | u64(1) << 62;
}

#define BNN_WGMMA(NAME)                                                                                               \
  asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %130, 0;\n" NAME " "                                \
               "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15," \
               " %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31," \
               " %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47," \
               " %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63," \
               " %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79," \
               " %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95," \
               " %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111," \
               " %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, " \
               "%128, %129, accumulate;\n}"                                                                            \
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]),  \
                 "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7]),  \
                 "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]),  \
                 "+r"(d[12]), "+r"(d[13]), "+r"(d[14]), "+r"(d[15]),  \
                 "+r"(d[16]), "+r"(d[17]), "+r"(d[18]), "+r"(d[19]),  \
                 "+r"(d[20]), "+r"(d[21]), "+r"(d[22]), "+r"(d[23]),  \
                 "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]),  \
                 "+r"(d[28]), "+r"(d[29]), "+r"(d[30]), "+r"(d[31]),  \
                 "+r"(d[32]), "+r"(d[33]), "+r"(d[34]), "+r"(d[35]),  \
                 "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]),  \
                 "+r"(d[40]), "+r"(d[41]), "+r"(d[42]), "+r"(d[43]),  \
                 "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]),  \
                 "+r"(d[48]), "+r"(d[49]), "+r"(d[50]), "+r"(d[51]),  \
                 "+r"(d[52]), "+r"(d[53]), "+r"(d[54]), "+r"(d[55]),  \
                 "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]),  \
                 "+r"(d[60]), "+r"(d[61]), "+r"(d[62]), "+r"(d[63]),  \
                 "+r"(d[64]), "+r"(d[65]), "+r"(d[66]), "+r"(d[67]),  \
                 "+r"(d[68]), "+r"(d[69]), "+r"(d[70]), "+r"(d[71]),  \
                 "+r"(d[72]), "+r"(d[73]), "+r"(d[74]), "+r"(d[75]),  \
                 "+r"(d[76]), "+r"(d[77]), "+r"(d[78]), "+r"(d[79]),  \
                 "+r"(d[80]), "+r"(d[81]), "+r"(d[82]), "+r"(d[83]),  \
                 "+r"(d[84]), "+r"(d[85]), "+r"(d[86]), "+r"(d[87]),  \
                 "+r"(d[88]), "+r"(d[89]), "+r"(d[90]), "+r"(d[91]),  \
                 "+r"(d[92]), "+r"(d[93]), "+r"(d[94]), "+r"(d[95]),  \
                 "+r"(d[96]), "+r"(d[97]), "+r"(d[98]), "+r"(d[99]),  \
                 "+r"(d[100]), "+r"(d[101]), "+r"(d[102]), "+r"(d[103]),  \
                 "+r"(d[104]), "+r"(d[105]), "+r"(d[106]), "+r"(d[107]),  \
                 "+r"(d[108]), "+r"(d[109]), "+r"(d[110]), "+r"(d[111]),  \
                 "+r"(d[112]), "+r"(d[113]), "+r"(d[114]), "+r"(d[115]),  \
                 "+r"(d[116]), "+r"(d[117]), "+r"(d[118]), "+r"(d[119]),  \
                 "+r"(d[120]), "+r"(d[121]), "+r"(d[122]), "+r"(d[123]),  \
                 "+r"(d[124]), "+r"(d[125]), "+r"(d[126]), "+r"(d[127])                                                                                                   \
               : "l"(a), "l"(b), "r"(int(accumulate)))

// d = a * b, or d += a * b, for 64 rows (16 a warp), 256 columns and 32 bytes of K. With g = lane / 4, q = lane % 4: d[4 j + 2 h + e] is row
// g + 8 h of the warp's and column 8 j + 2 q + e.
template <Product PRODUCT>
__device__ __forceinline__ void multiply_64x256(int (&d)[128], u64 a, u64 b, bool accumulate) {
  if constexpr (PRODUCT == AND) BNN_WGMMA("wgmma.mma_async.sync.aligned.m64n256k256.s32.b1.b1.and.popc");
  if constexpr (PRODUCT == U8) BNN_WGMMA("wgmma.mma_async.sync.aligned.m64n256k32.s32.u8.s8");
  if constexpr (PRODUCT == S8) BNN_WGMMA("wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8");
}
#undef BNN_WGMMA
