// SPDX-License-Identifier: Apache-2.0
// out[m, n] = f(sum over k of a[m, k] * b[n, k]) for few rows m: reads each weight once, for latency rather than for rate.
//
// Compiled with BNN_PRODUCT (POPC, U8 or S8) and BNN_OUTPUT (BITS or INT32). A block computes the 32 outputs of a word, a warp 4 of
// them; blockIdx.y is the row. Weights are on their way before the kernel waits for the one before it. A block that has all scores of
// an image finds its class too.
#include "epilogue.cuh"

struct Arguments {
  const unsigned* a;       // [rows][a_stride] words
  const unsigned* b;       // [columns][b_stride] words
  void* out;               // BITS: [rows][out_stride] words; INT32: [rows][columns]
  const int* constants;    // as in gemm.cu, one class
  int* winners;            // INT32: [rows] the lowest column of the greatest, or null; only for up to 32 columns
  long long a_stride, b_stride, out_stride;  // in words
  int rows, columns, k_words, padded_columns, out_words;  // k_words: a multiple of 4
};

constexpr Product PRODUCT = Product(BNN_PRODUCT);
constexpr Output OUTPUT = Output(BNN_OUTPUT);
constexpr int THREADS = 256, NEURONS = 4;

__device__ __forceinline__ int product(uint4 a, uint4 b) {
  if constexpr (PRODUCT == POPC) return __popc(a.x ^ b.x) + __popc(a.y ^ b.y) + __popc(a.z ^ b.z) + __popc(a.w ^ b.w);
  return multiply_bytes<PRODUCT>(
      a.x, b.x, multiply_bytes<PRODUCT>(a.y, b.y, multiply_bytes<PRODUCT>(a.z, b.z, multiply_bytes<PRODUCT>(a.w, b.w, 0))));
}

extern "C" __global__ void __launch_bounds__(THREADS) matvec(const __grid_constant__ Arguments p) {
  __shared__ unsigned nibbles[THREADS / 32];
  __shared__ int scores[32];
  launch_dependents();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.x * 32 + warp * NEURONS, chunks = p.k_words / 4;
  const uint4* rows[NEURONS];
  uint4 weights[NEURONS];
  for (int i = 0; i < NEURONS; ++i) {
    rows[i] = reinterpret_cast<const uint4*>(p.b + min(first + i, p.columns - 1) * p.b_stride);
    weights[i] = lane < chunks ? rows[i][lane] : uint4{0, 0, 0, 0};
  }
  wait_for_dependencies();
  const uint4* x = reinterpret_cast<const uint4*>(p.a + blockIdx.y * p.a_stride);
  int sums[NEURONS] = {};
  for (int chunk = lane; chunk < chunks; chunk += 32) {
    const uint4 input = x[chunk];
    for (int i = 0; i < NEURONS; ++i) {
      sums[i] += product(input, weights[i]);
      if (chunk + 32 < chunks) weights[i] = rows[i][chunk + 32];
    }
  }
  unsigned fired = 0;
  for (int i = 0; i < NEURONS; ++i) {
    for (int distance = 16; distance; distance /= 2) sums[i] += __shfl_xor_sync(0xffffffffu, sums[i], distance);
    const int column = first + i, value = product_value<PRODUCT>(sums[i], 0);
    if constexpr (OUTPUT == BITS) {
      fired |= unsigned(column < p.columns && value >= p.constants[column]) << i;
    } else if (lane == i && column < p.columns) {
      const int score = affine(value, p.constants[column], p.constants[p.padded_columns + column]);
      static_cast<int*>(p.out)[(long long)blockIdx.y * p.columns + column] = score;
      scores[column % 32] = score;
    }
  }
  if constexpr (OUTPUT == BITS) {
    if (lane == 0) nibbles[warp] = fired << NEURONS * warp;
    __syncthreads();
    if (threadIdx.x == 0) {
      unsigned word = 0;
      for (int i = 0; i < THREADS / 32; ++i) word |= nibbles[i];
      static_cast<unsigned*>(p.out)[blockIdx.y * p.out_stride + blockIdx.x] = word;
    }
  } else if (p.winners) {
    __syncthreads();
    if (warp == 0) {
      const int winner = greatest(lane < p.columns ? scores[lane] : scores[0], lane < p.columns ? lane : 0);
      if (lane == 0) p.winners[blockIdx.y] = winner;
    }
  }
}
