// SPDX-License-Identifier: Apache-2.0
// The BNN paper's XNOR kernel: out[m, n] = inner - 2 * sum over words of popc(a[m] ^ b[n]) in float32, 16x16 tiles of 32-bit words.
#include "primitives.cuh"

struct Arguments {
  const unsigned *a, *b;  // [rows][words], [columns][words]
  float* out;             // [rows][columns]
  int rows, columns, words, inner;  // inner: bits
};

constexpr int TILE = 16;

extern "C" __global__ void __launch_bounds__(TILE * TILE) xnor_gemm_u32(const __grid_constant__ Arguments p) {
  __shared__ unsigned a[TILE][TILE], b[TILE][TILE + 1];  // + 1 against conflicts, since b is read along its columns
  const int x = threadIdx.x, y = threadIdx.y, column = blockIdx.x * TILE + x, row = blockIdx.y * TILE + y;
  const int column_loaded = blockIdx.x * TILE + y;
  int differences = 0;
  for (int k = 0; k < p.words; k += TILE) {
    a[y][x] = row < p.rows && k + x < p.words ? p.a[(long long)row * p.words + k + x] : 0;
    b[y][x] = column_loaded < p.columns && k + x < p.words ? p.b[(long long)column_loaded * p.words + k + x] : 0;
    __syncthreads();
    for (int i = 0; i < TILE; ++i) differences += __popc(a[y][i] ^ b[x][i]);
    __syncthreads();
  }
  if (row < p.rows && column < p.columns) p.out[(long long)row * p.columns + column] = float(p.inner - 2 * differences);
}
