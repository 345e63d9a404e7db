// SPDX-License-Identifier: Apache-2.0
// The accelerator's Verilog as a library, one clock cycle after the other, for a simulated board.
//
// Whoever calls it sets the streams that `live_streams` gives: bytes to send and room to receive, which `live_run` moves.
// A register is read or written by a transaction on the bus, in which the streams go on.

#include <chrono>
#include <cstdint>
#include <cstring>

#include "Vtestbench.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

static const int kResetCycles = 16, kMostBusCycles = 1000, kCyclesByTheClock = 16;

// As `_Streams` in live.py has it.
struct Streams {
    const uint8_t* send_data;
    uint64_t send_bytes, sent_bytes;
    uint8_t* receive_data;
    uint64_t receive_bytes, received_bytes;
    uint64_t cycles, words_in, words_out;
    uint8_t send_last;       // whether TLAST comes with the last word to send
    uint8_t receiving;       // whether received words are taken
    uint8_t heed_last;       // whether TLAST ends what is received
    uint8_t received_last;   // whether it has
    uint8_t overflowed;      // whether a word came that there was no room for
};

struct Live {
    VerilatedContext context;
    Vtestbench top{&context};
    Streams streams{};
    bool event = false;  // whether something ended in the last cycle

    void offer() {
        const Streams& s = streams;
        const uint64_t left = s.send_bytes - s.sent_bytes;
        top.s_axis_tvalid = left != 0;
        if (left == 0) return;
        uint64_t word = 0;
        std::memcpy(&word, s.send_data + s.sent_bytes, left < 8 ? left : 8);
        top.s_axis_tdata = word;
        top.s_axis_tkeep = left < 8 ? (1 << left) - 1 : 0xff;
        top.s_axis_tlast = s.send_last && left <= 8;
    }

    void move() {
        Streams& s = streams;
        if (top.s_axis_tvalid && top.s_axis_tready) {
            const uint64_t left = s.send_bytes - s.sent_bytes;
            s.sent_bytes += left < 8 ? left : 8;
            ++s.words_in;
            event |= s.sent_bytes == s.send_bytes;
        }
        if (top.m_axis_tvalid && top.m_axis_tready) {
            ++s.words_out;
            if (s.receive_bytes - s.received_bytes < 4) {
                s.overflowed = true;
            } else {
                const uint32_t word = top.m_axis_tdata;
                std::memcpy(s.receive_data + s.received_bytes, &word, 4);
                s.received_bytes += 4;
                s.received_last = s.heed_last && top.m_axis_tlast;
            }
            if (s.overflowed || s.received_last) {
                s.receiving = false;
                event = true;
            }
        }
    }

    void step() {
        offer();
        top.m_axis_tready = streams.receiving;
        top.eval();
        move();
        top.aclk = 1;
        top.eval();
        top.aclk = 0;
        ++streams.cycles;
    }
};

EXPORT Live* live_new() {
    Live* live = new Live;
    Vtestbench& top = live->top;
    top.aclk = top.aresetn = 0;
    top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_arvalid = 0;
    top.s_axi_bready = top.s_axi_rready = 1;
    for (int cycle = 0; cycle < kResetCycles; ++cycle) live->step();
    top.aresetn = 1;
    return live;
}

EXPORT void live_delete(Live* live) { delete live; }

EXPORT Streams* live_streams(Live* live) { return &live->streams; }

// Runs for so many cycles at most, for about so many seconds at most, or until a stream ends; returns whether a word moved.
EXPORT int live_run(Live* live, uint64_t cycles, double seconds) {
    using clock = std::chrono::steady_clock;
    const auto end = clock::now() + std::chrono::duration<double>(seconds);
    const Streams before = live->streams;
    live->event = false;
    for (uint64_t cycle = 0; cycle < cycles && !live->event; ++cycle) {
        live->step();
        if (cycle % kCyclesByTheClock == 0 && clock::now() > end) break;
    }
    return before.words_in != live->streams.words_in || before.words_out != live->streams.words_out;
}

// Returns the response of the bus, 0 for OKAY, or -1 if there is none.
EXPORT int live_read(Live* live, uint64_t address, uint32_t* data) {
    Vtestbench& top = live->top;
    top.s_axi_araddr = address;
    top.s_axi_arvalid = 1;
    for (int cycle = 0; cycle < kMostBusCycles; ++cycle) {
        live->offer();
        top.eval();
        const bool accepted = top.s_axi_arvalid && top.s_axi_arready, answered = top.s_axi_rvalid;
        const int response = top.s_axi_rresp;
        *data = top.s_axi_rdata;
        live->step();
        if (accepted) top.s_axi_arvalid = 0;
        if (answered) return response;
    }
    return -1;
}

EXPORT int live_write(Live* live, uint64_t address, uint32_t data) {
    Vtestbench& top = live->top;
    top.s_axi_awaddr = address;
    top.s_axi_wdata = data;
    top.s_axi_wstrb = 0xf;
    top.s_axi_awvalid = top.s_axi_wvalid = 1;
    for (int cycle = 0; cycle < kMostBusCycles; ++cycle) {
        live->offer();
        top.eval();
        const bool address_taken = top.s_axi_awvalid && top.s_axi_awready, data_taken = top.s_axi_wvalid && top.s_axi_wready;
        const bool answered = top.s_axi_bvalid;
        const int response = top.s_axi_bresp;
        live->step();
        if (address_taken) top.s_axi_awvalid = 0;
        if (data_taken) top.s_axi_wvalid = 0;
        if (answered) return response;
    }
    return -1;
}
