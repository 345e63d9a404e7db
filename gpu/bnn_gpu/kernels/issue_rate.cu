// SPDX-License-Identifier: Apache-2.0
// How many cycles the tensor cores take for a product, with nothing to load: the peak that the other kernels are measured by.
//
// Compiled with BNN_PRODUCT. One block a multiprocessor; two warpgroups keep wgmma m64n256 busy on the same shared memory.
#include "primitives_sm90.cuh"

struct Arguments {
  long long* cycles;  // [blocks] for all products of a block
  int* sink;          // [blocks * threads], so that nothing is left out
  int rounds;         // each of 4 products a warpgroup
};

constexpr Product PRODUCT = Product(BNN_PRODUCT);
constexpr int THREADS = 256, BYTES = (128 + 256) * 128;

extern "C" __global__ void __launch_bounds__(THREADS, 1) issue_rate(const __grid_constant__ Arguments p) {
  unsigned char* memory = dynamic_memory();
  for (int i = threadIdx.x; i < BYTES / 4; i += THREADS) reinterpret_cast<unsigned*>(memory)[i] = i * 2654435761u;
  fence_barrier_init();
  __syncthreads();
  const u64 a = descriptor(memory + threadIdx.x / 128 * 64 * 128), b = descriptor(memory + 128 * 128);
  int sums[128];
  const long long start = clock_cycles();
  for (int round = 0; round < p.rounds; ++round) {
    products_fence(sums);
#pragma unroll
    for (int step = 0; step < 4; ++step) multiply_64<PRODUCT, 256>(sums, a + 2 * step, b + 2 * step, round > 0 || step > 0);
    products_commit();
    products_wait<1>(sums);
  }
  products_wait<0>(sums);
  __syncthreads();
  if (threadIdx.x == 0) p.cycles[blockIdx.x] = clock_cycles() - start;
  int sink = 0;
#pragma unroll
  for (int i = 0; i < 128; ++i) sink += sums[i];
  p.sink[blockIdx.x * THREADS + threadIdx.x] = sink;
}
