// SPDX-License-Identifier: Apache-2.0
// The BNN paper's baseline: out[m, n] = sum over k of a[m, k] * b[k, n] in float32, 16x16 tiles in shared memory, nothing more.
#include "primitives.cuh"

struct Arguments {
  const float *a, *b;  // [rows][inner], [inner][columns]
  float* out;          // [rows][columns]
  int rows, columns, inner;
};

constexpr int TILE = 16;

extern "C" __global__ void __launch_bounds__(TILE * TILE) float_gemm(const __grid_constant__ Arguments p) {
  __shared__ float a[TILE][TILE], b[TILE][TILE];
  const int x = threadIdx.x, y = threadIdx.y, column = blockIdx.x * TILE + x, row = blockIdx.y * TILE + y;
  float sum = 0;
  for (int k = 0; k < p.inner; k += TILE) {
    a[y][x] = row < p.rows && k + x < p.inner ? p.a[(long long)row * p.inner + k + x] : 0;
    b[y][x] = column < p.columns && k + y < p.inner ? p.b[(long long)(k + y) * p.columns + column] : 0;
    __syncthreads();
    for (int i = 0; i < TILE; ++i) sum += a[y][i] * b[i][x];
    __syncthreads();
  }
  if (row < p.rows && column < p.columns) p.out[(long long)row * p.columns + column] = sum;
}
