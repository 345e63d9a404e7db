// SPDX-License-Identifier: Apache-2.0
// The class of each image: the lowest index among the greatest scores. A warp does an image.
#include "epilogue.cuh"

struct Arguments {
  const int* scores;  // [rows][classes]
  int* out;           // [rows]
  int rows, classes;
};

constexpr int THREADS = 128;

extern "C" __global__ void __launch_bounds__(THREADS) argmax(const __grid_constant__ Arguments p) {
  launch_dependents();
  wait_for_dependencies();
  const int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= p.rows) return;
  const int* scores = p.scores + (long long)row * p.classes;
  int best = scores[min(lane, p.classes - 1)], winner = min(lane, p.classes - 1);
  for (int index = lane + 32; index < p.classes; index += 32)
    if (scores[index] > best) best = scores[index], winner = index;
  winner = greatest(best, winner);
  if (lane == 0) p.out[row] = winner;
}
