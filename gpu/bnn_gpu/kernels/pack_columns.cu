// SPDX-License-Identifier: Apache-2.0
// Packs columns: bit k of out[n] = x[k, n] >= threshold, bit 0 first, zeros to the end of the words. NaN is bit 0, as -1.
//
// Compiled with BNN_TYPE. A thread packs 128 elements of a column into 4 words; a warp reads rows of 32 neighbouring columns.
#include "primitives.cuh"

struct Arguments {
  const void* x;       // [elements][x_stride] of BNN_TYPE
  unsigned* out;       // [columns][words]
  long long x_stride;  // in elements
  int elements, columns, words;  // words: a multiple of 4
  float threshold;
};

using Element = BNN_TYPE;
constexpr int THREADS = 128;

extern "C" __global__ void __launch_bounds__(THREADS) pack_columns(const __grid_constant__ Arguments p) {
  const int column = blockIdx.x * THREADS + threadIdx.x;
  if (column >= p.columns) return;
  for (int group = blockIdx.y; group < p.words / 4; group += gridDim.y) {
    const Element* x = static_cast<const Element*>(p.x) + group * 128LL * p.x_stride + column;
    const int count = min(128, max(0, p.elements - group * 128));
    unsigned words[4] = {};
#pragma unroll
    for (int word = 0; word < 4; ++word) {
#pragma unroll 16
      for (int bit = 0; bit < 32; ++bit)
        if (32 * word + bit < count) words[word] |= unsigned(float(x[(32 * word + bit) * p.x_stride]) >= p.threshold) << bit;
    }
    *reinterpret_cast<uint4*>(p.out + (long long)column * p.words + 4 * group) = uint4{words[0], words[1], words[2], words[3]};
  }
}
