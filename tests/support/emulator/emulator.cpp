// SPDX-License-Identifier: Apache-2.0
// Runs one kernel's grid on a CPU. Compiled with KERNEL_FILE and KERNEL; returns 0, or 1 for a deadlock, 2 for a misaligned or
// impossible access.
#include "primitives.cuh"

#include KERNEL_FILE

namespace {
const Arguments* arguments;

void run_thread() {
  KERNEL(*arguments);
  emulator::current->done = true;
  emulator::idle = 0;
  emulator::give_way();
}
}  // namespace

extern "C" int emulate(const void* bytes, const unsigned* grid, const unsigned* block, unsigned blocks_in_cluster, unsigned seed) {
  using namespace emulator;
#ifdef BNN_CLUSTER
  blocks_in_cluster = BNN_CLUSTER;  // the kernel says so itself
#endif
  std::unique_ptr<unsigned char, void (*)(void*)> copy(static_cast<unsigned char*>(std::aligned_alloc(64, (sizeof(Arguments) + 63) / 64 * 64)), std::free);
  std::memcpy(copy.get(), bytes, sizeof(Arguments));
  arguments = reinterpret_cast<const Arguments*>(copy.get());
  grid_dim = {grid[0], grid[1], grid[2]}, block_dim = {block[0], block[1], block[2]};
  const int threads = block[0] * block[1] * block[2];
  failed = false;
  std::vector<std::unique_ptr<unsigned char, void (*)(void*)>> memories;
  std::vector<Fiber> fibers(threads * blocks_in_cluster);
  for (auto& fiber : fibers) fiber.stack.resize(64 * 1024);
  for (unsigned i = 0; i < blocks_in_cluster; ++i) memories.emplace_back(static_cast<unsigned char*>(std::aligned_alloc(1024, MEMORY)), std::free);

  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; x += blocks_in_cluster) {
        Cluster here;
        here.members = int(fibers.size());
        cluster = &here;
        for (unsigned rank = 0; rank < blocks_in_cluster; ++rank) {
          auto own = std::make_unique<Block>();
          own->members = threads, own->rank = rank, own->index = {x + rank, y, z}, own->memory = memories[rank].get();
          std::memset(own->memory, 0xa5, MEMORY);
          own->warps.resize((threads + 31) / 32);
          for (auto& warp : own->warps) warp.members = 32;
          here.blocks.push_back(std::move(own));
        }
        for (int i = 0; i < int(fibers.size()); ++i) {
          Fiber& fiber = fibers[i];
          const unsigned thread = i % threads;
          fiber.block = here.blocks[i / threads].get(), fiber.warp = &fiber.block->warps[thread / 32], fiber.lane = thread % 32;
          fiber.thread = {thread % block[0], thread / block[0] % block[1], thread / block[0] / block[1]};
          fiber.done = false, fiber.copies = {}, fiber.products = {};
          getcontext(&fiber.context);
          fiber.context.uc_stack.ss_sp = fiber.stack.data(), fiber.context.uc_stack.ss_size = fiber.stack.size();
          fiber.context.uc_link = nullptr;
          makecontext(&fiber.context, run_thread, 0);
        }
        idle = 0;
        std::vector<int> live(fibers.size());
        for (int i = 0; i < int(live.size()); ++i) live[i] = i;
        while (!live.empty()) {
          seed = seed * 1664525u + 1013904223u;
          // Mostly in turn, which is fast; from a random place on, which finds what relies on an order.
          const int start = (seed >> 8) % live.size();
          for (int i = 0; i < int(live.size()); ++i) {
            current = &fibers[live[(start + i) % live.size()]];
            if (!current->done) swapcontext(&scheduler, &current->context);
          }
          live.erase(std::remove_if(live.begin(), live.end(), [&](int i) { return fibers[i].done; }), live.end());
          if (failed) return 2;
          if (idle > 64 * long(fibers.size())) return 1;
        }
      }
  return 0;
}
