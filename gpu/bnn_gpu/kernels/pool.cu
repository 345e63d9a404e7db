// SPDX-License-Identifier: Apache-2.0
// Max pooling on packed bits: the OR of a window's bits, or their AND where the mask has a 1. A thread computes a word.
#include "primitives.cuh"

struct Arguments {
  const unsigned* x;     // [images][x_stride] words: [image_rows][image_columns][words]
  unsigned* out;         // [images][out_stride] words: [place_rows][place_columns][words]
  const unsigned* mask;  // [words]: the channels that AND
  long long x_stride, out_stride;  // in words
  int images, words, image_rows, image_columns, place_rows, place_columns;
  int size_rows, size_columns, stride_rows, stride_columns;
};

constexpr int THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS) pool(const __grid_constant__ Arguments p) {
  launch_dependents();
  wait_for_dependencies();
  const int image_words = p.place_rows * p.place_columns * p.words;
  const long long index = (long long)blockIdx.x * THREADS + threadIdx.x, image = index / image_words;
  if (image >= p.images) return;
  const int within = int(index - image * image_words), word = within % p.words, place = within / p.words;
  const int first_row = place / p.place_columns * p.stride_rows, first_column = place % p.place_columns * p.stride_columns;
  const unsigned mask = p.mask[word];  // an AND is the OR of the complements, complemented
  unsigned bits = 0;
  for (int row = first_row; row < first_row + p.size_rows; ++row)
    for (int column = first_column; column < first_column + p.size_columns; ++column)
      bits |= p.x[image * p.x_stride + (long long)(row * p.image_columns + column) * p.words + word] ^ mask;
  p.out[image * p.out_stride + within] = bits ^ mask;
}
