// SPDX-License-Identifier: Apache-2.0
// out[m, n] = f(sum over k of a[m, k] * b[n, k]) for bits or bytes, on CUDA cores or on tensor cores by mma.sync.
//
// A row m of a is a place of a window on an image, gathered while it is loaded (implicit GEMM); what lies outside of the image
// loads as zeros. A dense layer is a window of 1x1 on an image of 1x1 pixels.
//
// Compiled with BNN_PRODUCT, BNN_OUTPUT, BNN_PAIRS (1 for an even number of columns), BNN_VECTOR (32-bit words a copy: 4, 2 or 1, a
// divisor of pixel_words) and BNN_STAGES. A block of 8 warps computes 128x128, a warp 32x64; a stage holds 128 bytes of K of 128 rows of both, 16-byte chunks XORed with
// the row, so that neither copies nor ldmatrix conflict.
#include "epilogue.cuh"

struct Arguments {
  const unsigned* a;          // [images][a_stride] words: [image_rows][image_columns][pixel_words]
  const unsigned* b;          // [columns][b_stride] words: [kernel_rows][kernel_columns][pixel_words]
  void* out;                  // BITS: [images][out_stride] words: [places][out_words]; else [rows][columns] int32 or float32
  const int* constants;       // BITS: thresholds [classes][padded_columns]; else multipliers and offsets [2][padded_columns]
  const int* place_classes;   // [places] rows of the thresholds, or null for row 0
  long long a_stride, b_stride, out_stride;  // in words
  int rows, columns, k_words, padded_columns;  // rows = images * places
  int out_words, places, place_columns;        // places = place_rows * place_columns
  int image_rows, image_columns, pixel_words, kernel_columns;
  int stride_rows, stride_columns, above, left;
};

constexpr Product PRODUCT = Product(BNN_PRODUCT);
constexpr Output OUTPUT = Output(BNN_OUTPUT);
constexpr bool PAIRS = BNN_PAIRS;
constexpr int VECTOR = BNN_VECTOR, STAGES = BNN_STAGES;
constexpr int THREADS = 256, TILE = 128, STAGE_WORDS = 32, OPERAND_BYTES = TILE * 4 * STAGE_WORDS;

struct Origin {  // of a row of a: its image, and the image's row and column under the window's first pixel
  const unsigned* image;
  int row, column;
};

__device__ __forceinline__ unsigned char* at(unsigned char* operand, int row, int word) {
  return operand + row * 128 + (((word >> 2) ^ (row & 7)) << 4) + (word & 3) * 4;
}

__device__ __forceinline__ Origin origin_of(const Arguments& p, long long row) {
  const long long image = row / p.places;
  const int place = int(row - image * p.places), place_row = place / p.place_columns, place_column = place % p.place_columns;
  return {row < p.rows ? p.a + image * p.a_stride : nullptr, place_row * p.stride_rows - p.above,
          place_column * p.stride_columns - p.left};
}

template <class OriginOf>
__device__ __forceinline__ void load_a(const Arguments& p, OriginOf origin_at, unsigned char* stage, int first_word) {
  constexpr int CHUNKS = STAGE_WORDS / VECTOR;
  const int chunk = threadIdx.x % CHUNKS, k = first_word + chunk * VECTOR;
  const int pixel = k / p.pixel_words, word = k - pixel * p.pixel_words;
  const int kernel_row = pixel / p.kernel_columns, kernel_column = pixel - kernel_row * p.kernel_columns;
  for (int row = threadIdx.x / CHUNKS; row < TILE; row += THREADS / CHUNKS) {
    const Origin origin = origin_at(row);
    const int r = origin.row + kernel_row, c = origin.column + kernel_column;
    const bool inside = unsigned(r) < unsigned(p.image_rows) && unsigned(c) < unsigned(p.image_columns);
    const bool valid = origin.image && k < p.k_words && inside;
    const unsigned* from = valid ? origin.image + (long long)(r * p.image_columns + c) * p.pixel_words + word : p.a;
    copy_async<4 * VECTOR>(at(stage, row, chunk * VECTOR), from, valid);
  }
}

__device__ __forceinline__ void load_b(const Arguments& p, unsigned char* stage, int first_column, int first_word) {
  const int chunk = threadIdx.x % 8, k = first_word + chunk * 4;
  for (int row = threadIdx.x / 8; row < TILE; row += THREADS / 8) {
    const int n = first_column + row;
    const bool valid = n < p.columns && k < p.b_stride;  // rows of b end in zeros
    copy_async<16>(at(stage, row, chunk * 4), valid ? p.b + n * p.b_stride + k : p.b, valid);
  }
}

// 32x64 sums of a warp, 32 bytes of K at a time; `ones`: of rows g, g + 8, g + 16 and g + 24, this thread's part.
__device__ __forceinline__ void multiply(int (&sums)[2][8][4], int (&ones)[4], unsigned char* a, unsigned char* b, int steps) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = warp % 4 * 32, column = warp / 4 * 64;
  if constexpr (PRODUCT == POPC) {
    const int g = lane / 4, q = lane % 4;
    for (int word = 0; word < 8 * steps; word += 4) {
      uint4 x[4];
      for (int i = 0; i < 4; ++i) x[i] = *reinterpret_cast<uint4*>(at(a, row + g + 8 * i, word));
#pragma unroll
      for (int j = 0; j < 16; ++j) {
        const uint4 w = *reinterpret_cast<uint4*>(at(b, column + j / 2 * 8 + 2 * q + j % 2, word));
        for (int i = 0; i < 4; ++i)
          sums[i / 2][j / 2][i % 2 * 2 + j % 2] +=
              __popc(x[i].x ^ w.x) + __popc(x[i].y ^ w.y) + __popc(x[i].z ^ w.z) + __popc(x[i].w ^ w.w);
      }
    }
  } else {
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      if (step >= steps) break;
      unsigned x[2][4], w[4][4];
      for (int i = 0; i < 2; ++i) load_matrices(x[i], at(a, row + 16 * i + lane % 16, 8 * step + lane / 16 * 4));
      for (int i = 0; i < 4; ++i)
        load_matrices(w[i], at(b, column + 16 * i + lane / 16 * 8 + lane % 8, 8 * step + lane / 8 % 2 * 4));
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 8; ++j) multiply_16x8<PRODUCT>(sums[i][j], x[i], w[j / 2] + j % 2 * 2);
      if constexpr (PRODUCT == AND)
        for (int i = 0; i < 4; ++i) ones[i] += __popc(x[i / 2][i % 2]) + __popc(x[i / 2][i % 2 + 2]);
    }
  }
}

__device__ __forceinline__ void store(const Arguments& p, int (&sums)[2][8][4], int (&ones)[4], int first_row, int first_column) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  if constexpr (PRODUCT == AND)
    for (int i = 0; i < 4; ++i) ones[i] = quad_sum(ones[i]);
  if constexpr (OUTPUT == BITS) {
    unsigned words[8] = {};
    for (int i = 0; i < 4; ++i) {  // row first_row + 8 i + g
      const int row = first_row + 8 * i + g, place_class = p.place_classes && row < p.rows ? p.place_classes[row % p.places] : 0;
      const int* thresholds = p.constants + (long long)place_class * p.padded_columns + first_column + 2 * q;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int2 threshold = *reinterpret_cast<const int2*>(thresholds + 8 * j);
        const unsigned first = product_value<PRODUCT>(sums[i / 2][j][i % 2 * 2], ones[i]) >= threshold.x;
        const unsigned second = product_value<PRODUCT>(sums[i / 2][j][i % 2 * 2 + 1], ones[i]) >= threshold.y;
        words[2 * i + j / 4] |= (first | second << 1) << (8 * (j % 4) + 2 * q);
      }
    }
    unsigned mine[2];
    quad_words(words, q, mine);
    for (int i = 0; i < 2; ++i) {
      const int row = first_row + 16 * i + q / 2 * 8 + g, word = first_column / 32 + q % 2;
      if (row < p.rows && word < p.out_words)
        static_cast<unsigned*>(p.out)[row / p.places * p.out_stride + (long long)(row % p.places) * p.out_words + word] = mine[i];
    }
  } else {
    for (int i = 0; i < 4; ++i) {
      const int row = first_row + 8 * i + g;
      if (row >= p.rows) continue;
      void* out = static_cast<int*>(p.out) + (long long)row * p.columns;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int column = first_column + 8 * j + 2 * q;
        const int2 multiplier = *reinterpret_cast<const int2*>(p.constants + column);
        const int2 offset = *reinterpret_cast<const int2*>(p.constants + p.padded_columns + column);
        store_pair<OUTPUT, PAIRS>(out, column, p.columns,
                           affine(product_value<PRODUCT>(sums[i / 2][j][i % 2 * 2], ones[i]), multiplier.x, offset.x),
                           affine(product_value<PRODUCT>(sums[i / 2][j][i % 2 * 2 + 1], ones[i]), multiplier.y, offset.y));
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) gemm(const __grid_constant__ Arguments p) {
  unsigned char* stages = dynamic_memory();
  const int row_tiles = (p.rows + TILE - 1) / TILE, column_tiles = (p.columns + TILE - 1) / TILE;
  int row_tile, column_tile;
  tile_place(blockIdx.x, row_tiles, column_tiles, row_tile, column_tile);
  wait_for_dependencies();
  const long long first_row = (long long)row_tile * TILE;
#if BNN_STAGES > 2
  __shared__ Origin origins[TILE];
  if (threadIdx.x < TILE) origins[threadIdx.x] = origin_of(p, first_row + threadIdx.x);
  __syncthreads();
  auto origin_at = [&](int row) { return origins[row]; };
#else  // the stages take all shared memory that sm_75 has
  auto origin_at = [&](int row) { return origin_of(p, first_row + row); };
#endif

  int sums[2][8][4] = {}, ones[4] = {};
  const int count = (p.k_words + STAGE_WORDS - 1) / STAGE_WORDS;
  auto load = [&](int index) {
    unsigned char* stage = stages + index % STAGES * 2 * OPERAND_BYTES;
    if (index < count) {
      load_a(p, origin_at, stage, index * STAGE_WORDS);
      load_b(p, stage + OPERAND_BYTES, column_tile * TILE, index * STAGE_WORDS);
    }
    commit_copies();
  };
  for (int index = 0; index < STAGES - 1; ++index) load(index);
  for (int index = 0; index < count; ++index) {
    wait_copies<STAGES - 2>();
    __syncthreads();  // the stage is there, and all warps are done with the one that is loaded next
    load(index + STAGES - 1);
    unsigned char* stage = stages + index % STAGES * 2 * OPERAND_BYTES;
    multiply(sums, ones, stage, stage + OPERAND_BYTES, min(4, (p.k_words - index * STAGE_WORDS + 7) / 8));
  }
  launch_dependents();
  const int warp = threadIdx.x / 32;
  store(p, sums, ones, row_tile * TILE + warp % 4 * 32, column_tile * TILE + warp / 4 * 64);
}
