// SPDX-License-Identifier: Apache-2.0
// Drives the accelerator's Verilog with images from a file and records all that it gives.
//
// harness IMAGES WORDS_PER_IMAGE RESULTS_PER_IMAGE SEED
//
// Reads input.bin (64-bit words, IMAGES * WORDS_PER_IMAGE) and sends it as one packet. Writes results.bin (32-bit words),
// tap<n>.bin for each layer's output stream (the images' words in order, each in whole bytes), and finish.bin (64-bit: the
// cycle in which each image's last result was sent). SEED 0 never idles and is always ready; another seed does both at random,
// one cycle in four. Ends with exit code 1 and a line on stderr when nothing moves any more.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "Vtestbench.h"
#include "taps.h"  // TAPS(X): X(index, bytes, words) for each layer's output stream, so many words an image

static const uint64_t kStalledCycles = 10'000'000;

static std::FILE* open_or_exit(const std::string& name, const char* mode) {
    std::FILE* file = std::fopen(name.c_str(), mode);
    if (!file) {
        std::perror(name.c_str());
        std::exit(2);
    }
    return file;
}

static void tick(Vtestbench& top) {
    top.aclk = 1;
    top.eval();
    top.aclk = 0;
}

int main(int argc, char** argv) {
    if (argc != 5) return 2;
    const uint64_t images = std::stoull(argv[1]), words = std::stoull(argv[2]), results = std::stoull(argv[3]);
    const uint64_t seed = std::stoull(argv[4]);
    std::vector<uint64_t> input(images * words);
    std::FILE* source = open_or_exit("input.bin", "rb");
    if (std::fread(input.data(), sizeof(uint64_t), input.size(), source) != input.size()) return 2;
    std::fclose(source);

    std::vector<int32_t> output;
    std::vector<uint64_t> finish;
    uint64_t unseen = 0;  // words of the layers; some may come after the last result, or for an image that never comes
#define X(index, bytes, words)                                       \
    std::FILE* tap##index = open_or_exit("tap" #index ".bin", "wb"); \
    uint64_t unseen##index = images * words;                         \
    unseen += unseen##index;
    TAPS(X)
#undef X

    std::minstd_rand random(static_cast<uint32_t>(seed));
    const auto go = [&] { return seed == 0 || random() % 4 != 0; };
    const auto started = std::chrono::steady_clock::now();
    Vtestbench top;
    top.aclk = 0;
    top.aresetn = 0;
    top.eval();
    for (int cycle = 0; cycle < 4; ++cycle) tick(top);
    top.aresetn = 1;

    uint64_t cycle = 0, sent = 0, moved = 0;
    bool offered = false;
    while (output.size() < images * results || unseen > 0) {
        // A word once offered stays until it is taken.
        offered = sent < input.size() && (offered || go());
        top.s_axis_tvalid = offered;
        if (offered) top.s_axis_tdata = input[sent];
        top.s_axis_tlast = offered && sent + 1 == input.size();
        top.m_axis_tready = go();
        top.eval();
        if (offered && top.s_axis_tready) {
            ++sent;
            offered = false;
            moved = cycle;
        }
        if (top.m_axis_tvalid && top.m_axis_tready) {
            if (output.size() == images * results) {
                std::fprintf(stderr, "a result word came after the last image's\n");
                return 1;
            }
            output.push_back(static_cast<int32_t>(top.m_axis_tdata));
            if (output.size() % results == 0) finish.push_back(cycle);
            if (bool(top.m_axis_tlast) != (output.size() == images * results)) {
                std::fprintf(stderr, "TLAST is %d with result word %zu\n", int(top.m_axis_tlast), output.size() - 1);
                return 1;
            }
            moved = cycle;
        }
#define X(index, bytes, words)                                            \
    if (top.tap##index##_fire) {                                          \
        moved = cycle;                                                    \
        if (unseen##index > 0) {                                          \
            std::fwrite(&top.tap##index##_payload, 1, bytes, tap##index); \
            --unseen##index;                                              \
            --unseen;                                                     \
        }                                                                 \
    }
        TAPS(X)
#undef X
        tick(top);
        if (++cycle - moved > kStalledCycles) {
            std::fprintf(stderr,
                         "nothing moved for %llu cycles: %llu input words taken, %zu result words given, "
                         "%llu words of layers to come\n",
                         (unsigned long long)kStalledCycles, (unsigned long long)sent, output.size(),
                         (unsigned long long)unseen);
            return 1;
        }
    }
#define X(index, bytes, words) std::fclose(tap##index);
    TAPS(X)
#undef X
    const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    std::FILE* sink = open_or_exit("results.bin", "wb");
    std::fwrite(output.data(), sizeof(int32_t), output.size(), sink);
    std::fclose(sink);
    sink = open_or_exit("finish.bin", "wb");
    std::fwrite(finish.data(), sizeof(uint64_t), finish.size(), sink);
    std::fclose(sink);
    std::printf("{\"elapsed_s\": %.6f}\n", elapsed);
    return 0;
}
