// SPDX-License-Identifier: Apache-2.0
// From a thread's accumulators to packed bits or integers, the same for every product.
#pragma once
#include "primitives.cuh"

enum Output { BITS = 0, INT32 = 1, FLOAT32 = 2 };

// What constants are compared with, or multiplied by: 2 * popc(a & b) - popc(a), -popc(a ^ b), or the integer sum itself.
template <Product PRODUCT>
__device__ __forceinline__ int product_value(int sum, int row_ones) {
  if constexpr (PRODUCT == AND) return 2 * sum - row_ones;
  if constexpr (PRODUCT == POPC || PRODUCT == XOR) return -sum;
  return sum;
}

// multiplier * value + offset, right where it fits in int32 even if the parts do not.
__device__ __forceinline__ int affine(int value, int multiplier, int offset) {
  return int(unsigned(multiplier) * unsigned(value) + unsigned(offset));
}

// ORs each of 8 words over the 4 lanes of a quad; lane q gets words q and q + 4. Six shuffles instead of sixteen.
__device__ __forceinline__ void quad_words(const unsigned (&words)[8], int q, unsigned (&mine)[2]) {
  unsigned half[4];
  for (int i = 0; i < 4; ++i) {
    unsigned keep = q & 1 ? words[2 * i + 1] : words[2 * i], give = q & 1 ? words[2 * i] : words[2 * i + 1];
    half[i] = keep | __shfl_xor_sync(0xffffffffu, give, 1);
  }
  for (int i = 0; i < 2; ++i) {
    unsigned keep = q & 2 ? half[2 * i + 1] : half[2 * i], give = q & 2 ? half[2 * i] : half[2 * i + 1];
    mine[i] = keep | __shfl_xor_sync(0xffffffffu, give, 2);
  }
}

// Lane r of a quad has pairs of bits: pair p of its byte w is columns 32 w + 8 p + 2 r and the next. Lane q gets word q of these columns.
__device__ __forceinline__ unsigned quad_transposed(unsigned pairs, int q) {
  // First byte w of lane r to byte r of lane w,
  pairs = __byte_perm(pairs, __shfl_xor_sync(0xffffffffu, pairs, 1), q & 1 ? 0x3715 : 0x6240);
  pairs = __byte_perm(pairs, __shfl_xor_sync(0xffffffffu, pairs, 2), q & 2 ? 0x3276 : 0x5410);
  // then pair p of byte r to pair r of byte p.
  unsigned swapped = (pairs ^ pairs >> 6) & 0x00cc00cc;
  pairs ^= swapped ^ swapped << 6;
  swapped = (pairs ^ pairs >> 12) & 0x0000f0f0;
  return pairs ^ swapped ^ swapped << 12;
}

// Sums a value over the 4 lanes of a quad.
__device__ __forceinline__ int quad_sum(int value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

// The index of the greatest value of a warp's lanes, the lowest one among equals.
__device__ __forceinline__ int greatest(int value, int index) {
  for (int distance = 16; distance; distance /= 2) {
    const int other = __shfl_xor_sync(0xffffffffu, value, distance), other_index = __shfl_xor_sync(0xffffffffu, index, distance);
    if (other > value || (other == value && other_index < index)) value = other, index = other_index;
  }
  return index;
}

// Writes columns `column` (even) and `column + 1` of a row, as far as they are there; PAIRS: the number of columns is even.
template <Output OUTPUT, bool PAIRS>
__device__ __forceinline__ void store_pair(void* row, int column, int columns, int first, int second) {
  if constexpr (OUTPUT == INT32) {
    int* out = static_cast<int*>(row) + column;
    if (PAIRS && column < columns) *reinterpret_cast<int2*>(out) = int2{first, second};
    if (!PAIRS && column < columns) out[0] = first;
    if (!PAIRS && column + 1 < columns) out[1] = second;
  } else {
    float* out = static_cast<float*>(row) + column;
    if (PAIRS && column < columns) *reinterpret_cast<float2*>(out) = float2{float(first), float(second)};
    if (!PAIRS && column < columns) out[0] = float(first);
    if (!PAIRS && column + 1 < columns) out[1] = float(second);
  }
}

// The tile of a place in the order in which tiles are computed: 8 rows of tiles together, so that both operands stay in L2.
__device__ __forceinline__ void tile_place(unsigned index, unsigned row_tiles, unsigned column_tiles, int& row_tile, int& column_tile) {
  const unsigned group = index / (8 * column_tiles), first = group * 8, within = index - first * column_tiles;
  const unsigned height = min(8u, row_tiles - first);
  column_tile = height == 8 ? within / 8 : within / height;
  row_tile = first + within - column_tile * height;
}
