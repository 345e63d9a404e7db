// SPDX-License-Identifier: Apache-2.0
// out[m, n] = f(sum over k of a[m, k] * b[n, k]) for bits or bytes on Hopper's tensor cores (wgmma, sm_90a), loaded by TMA.
//
// Compiled with BNN_PRODUCT, BNN_OUTPUT, BNN_PAIRS (1 for an even number of columns), BNN_CLUSTER (1 or 2 blocks that share b),
// BNN_COLUMNS (of a tile: 256, 64 or, but for bits, 16) and BNN_TAIL (products of 32 bytes of K in the last stage where it is not
// full, else 0). A persistent block computes tiles of 128 rows: one thread loads, two warpgroups multiply 64 rows each. Four stages of
// 128 bytes of K. With products under way, each warp counts the ones of its own rows in shared memory, which AND needs, so that
// they are neither stored nor loaded anywhere.
#include "epilogue.cuh"
#include "primitives_sm90.cuh"

struct Arguments {
  TensorMap a, b;        // bytes [rows or columns][k_bytes], boxes of 128 bytes, 128-byte swizzle, zeros outside
  void* out;             // BITS: [rows][out_stride] words; else [rows][columns] int32 or float32
  const int* constants;  // BITS: thresholds [padded_columns]; else multipliers and offsets [2][padded_columns]
  long long out_stride;  // in words
  int rows, columns, k_bytes, padded_columns, out_words;
};

constexpr Product PRODUCT = Product(BNN_PRODUCT);
constexpr Output OUTPUT = Output(BNN_OUTPUT);
constexpr bool PAIRS = BNN_PAIRS;
constexpr int CLUSTER = BNN_CLUSTER, STAGES = 4, THREADS = 384;
constexpr int ROWS = 128, COLUMNS = BNN_COLUMNS, TAIL = BNN_TAIL, STAGE_BYTES = 128, SUMS = COLUMNS / 2;
constexpr int BOX_ROWS = COLUMNS / CLUSTER < 128 ? COLUMNS / CLUSTER : 128;  // of b; of a 128
constexpr int WORDS = COLUMNS < 64 ? 2 : COLUMNS / 32;  // of a row of a tile
static_assert(OUTPUT != BITS || COLUMNS == 32 * WORDS, "tiles of whole words");

struct Shared {
  unsigned char a[STAGES][ROWS * STAGE_BYTES], b[STAGES][COLUMNS * STAGE_BYTES];
  u64 full[STAGES], empty[STAGES];
};

struct Stage {  // the stage in use and the parity of its phase, in the order in which all roles go round
  int index = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void next() {
    if (++index == STAGES) index = 0, parity ^= 1;
  }
  __device__ __forceinline__ int before() const { return index == 0 ? STAGES - 1 : index - 1; }
};

struct Tiles {  // those of this block: with two blocks in a cluster, pairs of tiles one above the other
  int row_tiles, column_tiles, stages, count;  // an int, since a tile's outputs are 4 KB at the least
  __device__ __forceinline__ explicit Tiles(const Arguments& p)
      : row_tiles((p.rows + CLUSTER * ROWS - 1) / (CLUSTER * ROWS)),
        column_tiles((p.columns + COLUMNS - 1) / COLUMNS),
        stages((p.k_bytes + STAGE_BYTES - 1) / STAGE_BYTES),
        count(row_tiles * column_tiles) {}
  __device__ __forceinline__ void place(int index, int& row, int& column) const {
    int row_tile, column_tile;
    tile_place(index, row_tiles, column_tiles, row_tile, column_tile);
    row = (row_tile * CLUSTER + (CLUSTER > 1 ? int(cluster_rank()) : 0)) * ROWS;
    column = column_tile * COLUMNS;
  }
};

__device__ __forceinline__ void produce(const Arguments& p, Shared& shared, const Tiles& tiles) {
  Stage stage;
  for (int index = blockIdx.x / CLUSTER; index < tiles.count; index += gridDim.x / CLUSTER) {
    int row, column;
    tiles.place(index, row, column);
    for (int k = 0; k < tiles.stages; ++k, stage.next()) {
      barrier_wait(&shared.empty[stage.index], stage.parity ^ 1);
      u64* full = &shared.full[stage.index];
      unsigned char* b = shared.b[stage.index];
      barrier_expect(full, (ROWS + COLUMNS) * STAGE_BYTES);
      copy_box(shared.a[stage.index], &p.a, k * STAGE_BYTES, row, full);
      if constexpr (CLUSTER == 1) {
        for (int box = 0; box < COLUMNS; box += BOX_ROWS)
          copy_box(b + box * STAGE_BYTES, &p.b, k * STAGE_BYTES, column + box, full);
      } else {
        const int box = cluster_rank() * BOX_ROWS;  // each block loads a half of b for both
        copy_box(b + box * STAGE_BYTES, &p.b, k * STAGE_BYTES, column + box, full, 3);
      }
    }
  }
}

// The ones in a half of a row of a stage: lane 2 r + h counts half h of the warp's row r.
__device__ __forceinline__ int count_ones(const unsigned char* rows, int lane) {
  const int row = lane / 2;
  int ones = 0;
#pragma unroll
  for (int chunk = 0; chunk < 4; ++chunk) {
    const uint4 x = *reinterpret_cast<const uint4*>(rows + row * 128 + (((lane % 2 * 4 + chunk) ^ (row & 7)) << 4));
    ones += __popc(x.x) + __popc(x.y) + __popc(x.z) + __popc(x.w);
  }
  return ones;
}

// Writes a warp's 16 rows from `row` and the tile's columns from `column` on.
__device__ __forceinline__ void store(const Arguments& p, const int (&sums)[SUMS], int ones, int row, int column) {
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  ones += __shfl_xor_sync(0xffffffffu, ones, 1);
  const int row_ones[2] = {__shfl_sync(0xffffffffu, ones, 2 * g), __shfl_sync(0xffffffffu, ones, 2 * (g + 8))};
  const int* constants = p.constants + column + 2 * q;
  if constexpr (OUTPUT == BITS) {
    constexpr int PARTS = (WORDS + 3) / 4;  // of 16 pairs of columns
    unsigned signs[2][PARTS] = {};  // bit 2 (j % 16) + e: value < threshold, the sign of their difference
#pragma unroll
    for (int j = COLUMNS / 8 - 1; j >= 0; --j) {
      const int2 threshold = *reinterpret_cast<const int2*>(constants + 8 * j);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        unsigned& part = signs[h][j / 16];
        part = __funnelshift_l(product_value<PRODUCT>(sums[4 * j + 2 * h + 1], row_ones[h]) - threshold.y, part, 1);
        part = __funnelshift_l(product_value<PRODUCT>(sums[4 * j + 2 * h], row_ones[h]) - threshold.x, part, 1);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int m = row + g + 8 * h;
      for (int i = 0; i < PARTS; ++i) {
        const unsigned fired = quad_transposed(~signs[h][i], q);
        const int word = column / 32 + q + 4 * i;
        if (m < p.rows && q < WORDS && word < p.out_words) static_cast<unsigned*>(p.out)[m * p.out_stride + word] = fired;
      }
    }
  } else {
    int* out[2];
    int columns[2];  // of each row, none where it is outside
    for (int h = 0; h < 2; ++h) {
      const int m = row + g + 8 * h;
      out[h] = static_cast<int*>(p.out) + (long long)m * p.columns, columns[h] = m < p.rows ? p.columns : 0;
    }
#pragma unroll
    for (int j = 0; j < COLUMNS / 8; ++j) {
      const int2 multiplier = *reinterpret_cast<const int2*>(constants + 8 * j);
      const int2 offset = *reinterpret_cast<const int2*>(constants + p.padded_columns + 8 * j);
#pragma unroll
      for (int h = 0; h < 2; ++h)
        store_pair<OUTPUT, PAIRS>(out[h], column + 8 * j + 2 * q, columns[h],
                                  affine(product_value<PRODUCT>(sums[4 * j + 2 * h], row_ones[h]), multiplier.x, offset.x),
                                  affine(product_value<PRODUCT>(sums[4 * j + 2 * h + 1], row_ones[h]), multiplier.y, offset.y));
    }
  }
}

// Tells both blocks' producers that a warp is done with a stage.
__device__ __forceinline__ void release(Shared& shared, int stage, int lane) {
  __syncwarp();
  if (lane < CLUSTER) barrier_arrive(&shared.empty[stage], lane);
}

// Multiplies STEPS times 32 bytes of K of the stage in use, and releases the one before it, which is done then.
template <int STEPS>
__device__ __forceinline__ void multiply_stage(Shared& shared, Stage& stage, int group, bool first, int (&sums)[SUMS], int& ones) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  barrier_wait(&shared.full[stage.index], stage.parity);
  const unsigned char* rows = shared.a[stage.index] + group * 64 * STAGE_BYTES;
  const u64 a = descriptor(rows), b = descriptor(shared.b[stage.index]);
  products_fence(sums);
#pragma unroll
  for (int step = 0; step < STEPS; ++step)
    multiply_64<PRODUCT, COLUMNS>(sums, a + 2 * step, b + 2 * step, !first || step > 0);
  products_commit();
  if constexpr (PRODUCT == AND) ones += count_ones(rows + warp * 16 * STAGE_BYTES, lane);
  products_wait<1>(sums);
  if (!first) release(shared, stage.before(), lane);
  stage.next();
}

__device__ __forceinline__ void consume(const Arguments& p, Shared& shared, const Tiles& tiles, int group) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, whole = tiles.stages - (TAIL > 0);
  Stage stage;
  for (int index = blockIdx.x / CLUSTER; index < tiles.count; index += gridDim.x / CLUSTER) {
    int row, column, sums[SUMS], ones = 0;
    for (int k = 0; k < whole; ++k) multiply_stage<4>(shared, stage, group, k == 0, sums, ones);
    if constexpr (TAIL > 0) multiply_stage<TAIL>(shared, stage, group, whole == 0, sums, ones);
    tiles.place(index, row, column);  // while the last products are under way
    products_wait<0>(sums);
    release(shared, stage.before(), lane);
    store(p, sums, ones, row + group * 64 + warp * 16, column);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
#if BNN_CLUSTER > 1
    __cluster_dims__(BNN_CLUSTER, 1, 1)
#endif
        gemm_sm90(const __grid_constant__ Arguments p) {
  Shared& shared = *reinterpret_cast<Shared*>(dynamic_memory());
  if (threadIdx.x == 0) {
    prefetch_map(&p.a);
    prefetch_map(&p.b);
    for (int i = 0; i < STAGES; ++i) {
      barrier_init(&shared.full[i], 1);
      barrier_init(&shared.empty[i], 8 * CLUSTER);  // the consumers' warps
    }
    fence_barrier_init();
  }
  if constexpr (CLUSTER > 1) cluster_sync();
  else __syncthreads();
  launch_dependents();  // which wait for this kernel's end, and only start where a block has left
  wait_for_dependencies();

  const Tiles tiles(p);
  const int group = threadIdx.x / 128;
  if (group == 0) {
    give_registers<40>();
    if (threadIdx.x == 0) produce(p, shared, tiles);
  } else {
    take_registers<232>();
    consume(p, shared, tiles, group - 1);
  }
  __syncwarp();
  if constexpr (CLUSTER > 1) cluster_sync();  // no block leaves while the other still signals to it
}
