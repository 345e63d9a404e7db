// SPDX-License-Identifier: Apache-2.0
// Packs rows: bit k of out[m] = x[m, k] >= threshold, bit 0 first, zeros to the end of the words. NaN is bit 0, as -1.
//
// Compiled with BNN_TYPE (float, signed char or unsigned char). A warp packs 1024 elements of a row; each load of a warp is a word.
#include "primitives.cuh"

struct Arguments {
  const void* x;        // [rows][x_stride] of BNN_TYPE
  unsigned* out;        // [rows / pixels][out_stride] words: [pixels][words]
  long long x_stride;   // in elements
  long long out_stride; // in words
  int rows, elements, words, pixels;
  float threshold;
};

using Element = BNN_TYPE;
constexpr int THREADS = 256, UNROLLED = 8;

extern "C" __global__ void __launch_bounds__(THREADS) pack_rows(const __grid_constant__ Arguments p) {
  const int groups = (p.words + 31) / 32, lane = threadIdx.x % 32;
  const long long warp = ((long long)blockIdx.x * THREADS + threadIdx.x) / 32, row = warp / groups;
  const int first_word = int(warp % groups) * 32;
  if (row >= p.rows) return;
  const Element* x = static_cast<const Element*>(p.x) + row * p.x_stride;
  unsigned mine = 0;
  for (int word = 0; word < 32 && first_word + word < p.words; word += UNROLLED) {
    Element values[UNROLLED];
#pragma unroll
    for (int i = 0; i < UNROLLED; ++i) {
      const long long k = (first_word + word + i) * 32LL + lane;
      values[i] = k < p.elements ? x[k] : Element(0);
    }
#pragma unroll
    for (int i = 0; i < UNROLLED; ++i) {
      const long long k = (first_word + word + i) * 32LL + lane;
      const unsigned packed = __ballot_sync(0xffffffffu, k < p.elements && float(values[i]) >= p.threshold);
      if (lane == word + i) mine = packed;
    }
  }
  if (first_word + lane < p.words)
    p.out[row / p.pixels * p.out_stride + (row % p.pixels) * p.words + first_word + lane] = mine;
}
