// SPDX-License-Identifier: Apache-2.0
// Drives two forms of each module side by side and says where they first differ.
//
// harness COUNTED RANDOM
//
// The modules' inputs are COUNTED numbers one after the other, then all combinations of ports that are all zeros and all ones,
// then a single bit that differs from these, then RANDOM cycles. Prints the cycles as JSON, and the first one and the number
// of the first module in which the forms differed, or -1.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "Vtestbench.h"
#include "taps.h"  // PORTS, PORT_WORDS: the ports of a module and the 32-bit words of a port, at most, each at least 2

static const uint64_t kUnknown = 32;  // cycles in which what the registers held at the start may still come out

static Vtestbench top;
static uint64_t cycle = 0;

static void step() {
    top.clk = 0;
    top.eval();
    if (top.differ && cycle >= kUnknown) {
        std::printf("{\"cycle\": %llu, \"module\": %d}\n", (unsigned long long)cycle, int(top.which));
        std::exit(0);
    }
    top.clk = 1;
    top.eval();
    ++cycle;
}

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const uint64_t counted = std::stoull(argv[1]), draws = std::stoull(argv[2]);
    top.counting = 1;
    for (top.count = 0; top.count < counted; ++top.count) step();
    for (uint64_t wait = 0; wait < kUnknown; ++wait) step();
    top.counting = 0;

    uint32_t ports[PORTS][PORT_WORDS];
    const auto drive = [&] {
        std::memcpy(&top.ports, ports, sizeof ports);
        step();
    };
    for (int values = 0; values < 1 << PORTS; ++values) {
        for (int port = 0; port < PORTS; ++port) std::memset(ports[port], values >> port & 1 ? 0xff : 0, sizeof *ports);
        drive();
        for (int bit = 0; bit < PORTS * PORT_WORDS * 32; ++bit) {
            (*ports)[bit / 32] ^= 1u << bit % 32;
            drive();
            (*ports)[bit / 32] ^= 1u << bit % 32;
        }
    }
    // Each port is at random, or a copy of the one before with one bit in 2, 4, 8 or 16 inverted, or its complement.
    std::mt19937 random;
    for (uint64_t draw = 0; draw < draws; ++draw) {
        const uint32_t kind = random();
        for (int port = 0; port < PORTS; ++port) {
            for (int word = 0; word < PORT_WORDS; ++word) {
                uint32_t bits = random();
                if (port > 0) {
                    for (uint32_t halvings = kind % 4; halvings > 0; --halvings) bits &= random();
                    bits ^= ports[port - 1][word] ^ (kind & 4 ? ~0u : 0u);
                }
                ports[port][word] = bits;
            }
        }
        drive();
    }
    std::printf("{\"cycle\": %llu, \"module\": -1}\n", (unsigned long long)cycle);
    return 0;
}
