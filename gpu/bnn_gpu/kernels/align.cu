// SPDX-License-Identifier: Apache-2.0
// Copies bytes so that each pixel starts at a word and each image at 16 bytes; zeros between.
#include "primitives.cuh"

struct Arguments {
  const unsigned char* x;  // [rows][x_stride] bytes, of which `elements` count
  unsigned* out;           // [rows / pixels][out_stride] words: [pixels][words]
  long long x_stride;      // in bytes
  long long out_stride;    // in words
  int rows, elements, words, pixels;
};

constexpr int THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS) align(const __grid_constant__ Arguments p) {
  const long long index = (long long)blockIdx.x * THREADS + threadIdx.x, row = index / p.words;
  const int word = int(index % p.words);
  if (row >= p.rows) return;
  unsigned packed = 0;
  for (int i = 0; i < 4; ++i)
    if (4 * word + i < p.elements) packed |= unsigned(p.x[row * p.x_stride + 4 * word + i]) << 8 * i;
  p.out[row / p.pixels * p.out_stride + (row % p.pixels) * p.words + word] = packed;
}
