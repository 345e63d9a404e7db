// SPDX-License-Identifier: Apache-2.0
// The constants of a product with packed rows b as they lie on the device, where no host has prepared them. A warp does a row of b.
//
// Compiled with BNN_PRODUCT and BNN_OUTPUT. With value as in epilogue.cuh, matches = value + K - popc(b) for AND, value + K for the
// others; BITS: value >= threshold - (matches - value). Otherwise 2 * matches - K = 2 * value + offset.
#include "epilogue.cuh"

struct Arguments {
  const unsigned* b;      // [columns][b_stride] words
  const int* thresholds;  // [columns], of matches; only for BITS
  int* out;               // BITS: [padded_columns]; else [2][padded_columns]
  long long b_stride;     // in words
  int columns, padded_columns, bits;
};

constexpr int THREADS = 256;
constexpr long long LIMIT = 1 << 30;  // above all values, so that value - threshold is an int

extern "C" __global__ void __launch_bounds__(THREADS) constants(const __grid_constant__ Arguments p) {
  const int column = (blockIdx.x * THREADS + threadIdx.x) / 32, lane = threadIdx.x % 32;
  if (column >= p.padded_columns) return;
  const bool there = column < p.columns;
  int ones = 0;
  if (Product(BNN_PRODUCT) == AND && there)
    for (int word = lane; word < p.b_stride; word += 32) ones += __popc(p.b[column * p.b_stride + word]);
  for (int distance = 16; distance; distance /= 2) ones += __shfl_xor_sync(0xffffffffu, ones, distance);
  if (lane > 0) return;
  if (Output(BNN_OUTPUT) == BITS) {
    const long long threshold = there ? (long long)p.thresholds[column] - p.bits + ones : LIMIT;
    p.out[column] = int(max(-LIMIT, min(LIMIT, threshold)));
  } else {
    p.out[column] = 2;
    p.out[p.padded_columns + column] = p.bits - 2 * ones;
  }
}
