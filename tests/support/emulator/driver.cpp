// SPDX-License-Identifier: Apache-2.0
// As much of libcuda.so.1 as bnn_gpu.device calls, on host memory: one GPU of compute capability 9.0 whose modules are paths of
// emulated kernels. Finds wrong calls of the driver without one.
#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

using Emulate = int (*)(const void*, const unsigned*, const unsigned*, unsigned, unsigned);

namespace {
struct Attribute { int id; int pad; char value[64]; };
struct Config { unsigned grid[3], block[3], shared_bytes; void* stream; Attribute* attributes; unsigned count; };
struct Function { Emulate emulate; unsigned shared_bytes = 48 * 1024; };
struct Work { Function* function; std::vector<char> arguments; unsigned grid[3], block[3]; };
using Graph = std::vector<Work>;
std::map<uintptr_t, size_t> memory;
std::map<void*, Graph*> captures;
bool current = false;

int run(const Work& work) { return work.function->emulate(work.arguments.data(), work.grid, work.block, 1, 0) ? 719 : 0; }
bool inside(uintptr_t address, size_t bytes) {
  auto next = memory.upper_bound(address);
  if (next == memory.begin()) return false;
  --next;
  return address + bytes <= next->first + next->second;
}
}  // namespace

extern "C" {
int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuDeviceGetCount(int* count) { return *count = 1, 0; }
int cuDeviceGet(int* device, int index) { return *device = index, index ? 101 : 0; }
int cuDeviceGetName(char* name, int length, int) { return std::strncpy(name, "emulated", length), 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
  switch (attribute) {
    case 75: return *value = 9, 0;        // compute capability, major
    case 76: return *value = 0, 0;        // and minor
    case 16: return *value = 4, 0;        // multiprocessors
    case 13: return *value = 1830000, 0;  // kHz
    case 38: return *value = 1 << 20, 0;  // bytes of L2
  }
  return 1;
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &memory, 0; }
int cuCtxSetCurrent(void* context) { return current = context == &memory, current ? 0 : 201; }
int cuMemAlloc_v2(uintptr_t* address, size_t bytes) {
  if (!current || !bytes) return 1;
  *address = reinterpret_cast<uintptr_t>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  std::memset(reinterpret_cast<void*>(*address), 0xc5, bytes);
  memory[*address] = bytes;
  return 0;
}
int cuMemFree_v2(uintptr_t address) {
  if (!memory.erase(address)) return 1;
  return std::free(reinterpret_cast<void*>(address)), 0;
}
int cuMemsetD8Async(uintptr_t to, unsigned char value, size_t bytes, void*) {
  return inside(to, bytes) ? (std::memset(reinterpret_cast<void*>(to), value, bytes), 0) : 1;
}
int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t bytes, void*) {
  return inside(to, bytes) ? (std::memcpy(reinterpret_cast<void*>(to), from, bytes), 0) : 1;
}
int cuMemcpyDtoHAsync_v2(void* to, uintptr_t from, size_t bytes, void*) {
  return inside(from, bytes) ? (std::memcpy(to, reinterpret_cast<void*>(from), bytes), 0) : 1;
}
int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void*) {
  if (!inside(to, bytes) || !inside(from, bytes)) return 1;
  return std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes), 0;
}
int cuPointerGetAttribute(void* out, int attribute, uintptr_t address) {
  if (attribute != 9 || !inside(address, 1)) return 1;
  return *static_cast<int*>(out) = 0, 0;
}
int cuStreamSynchronize(void*) { return 0; }
int cuStreamCreate(void** stream, unsigned) { return *stream = new char, 0; }
int cuStreamDestroy_v2(void* stream) { return delete static_cast<char*>(stream), 0; }
int cuStreamBeginCapture_v2(void* stream, int) { return captures[stream] = new Graph, 0; }
int cuStreamEndCapture(void* stream, void** graph) { return *graph = captures[stream], captures.erase(stream), 0; }
int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) { return *executable = new Graph(*static_cast<Graph*>(graph)), 0; }
int cuGraphDestroy(void* graph) { return delete static_cast<Graph*>(graph), 0; }
int cuGraphExecDestroy(void* executable) { return delete static_cast<Graph*>(executable), 0; }
int cuGraphLaunch(void* executable, void*) {
  for (auto& work : *static_cast<Graph*>(executable))
    if (int error = run(work)) return error;
  return 0;
}
int cuEventCreate(void** event, unsigned) { return *event = new char, 0; }
int cuEventRecord(void*, void*) { return 0; }
int cuEventSynchronize(void*) { return 0; }
int cuEventElapsedTime_v2(float* ms, void*, void*) { return *ms = 1, 0; }
int cuEventElapsedTime(float* ms, void*, void*) { return *ms = 1, 0; }
int cuEventDestroy_v2(void* event) { return delete static_cast<char*>(event), 0; }
int cuModuleLoadData(void** module, const void* path) { return *module = dlopen(static_cast<const char*>(path), RTLD_NOW), *module ? 0 : 200; }
int cuModuleGetFunction(void** function, void* module, const char*) {
  return *function = new Function{reinterpret_cast<Emulate>(dlsym(module, "emulate"))}, 0;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
  if (attribute != 8 || value > 227 * 1024) return 1;
  return static_cast<Function*>(function)->shared_bytes = value, 0;
}
int cuTensorMapEncodeTiled(uint64_t* map, int type, unsigned rank, uintptr_t address, const uint64_t* extents, const uint64_t* strides,
                           const unsigned* box, const unsigned* steps, int interleave, int swizzle, int, int fill) {
  const bool right = type == 0 && rank == 2 && address % 16 == 0 && strides[0] % 16 == 0 && box[0] == 128 && box[1] % 8 == 0 && box[1] && box[1] <= 256 &&
                     steps[0] == 1 && steps[1] == 1 && interleave == 0 && swizzle == 3 && fill == 0 && reinterpret_cast<uintptr_t>(map) % 64 == 0;
  if (!right) return 1;
  const uint64_t content[5] = {address, extents[0], extents[1], strides[0], box[1]};
  return std::memcpy(map, content, sizeof content), 0;
}
int cuLaunchKernelEx(const Config* config, Function* function, void** arguments, void**) {
  if (!current || config->shared_bytes > function->shared_bytes) return 1;
  for (unsigned i = 0; i < config->count; ++i)
    if (config->attributes[i].id != 6) return 1;  // programmatic stream serialization
  const char* bytes = static_cast<const char*>(arguments[0]);
  Work work{function, std::vector<char>(bytes, bytes + 512)};
  std::memcpy(work.grid, config->grid, 12), std::memcpy(work.block, config->block, 12);
  if (captures.count(config->stream)) return captures[config->stream]->push_back(work), 0;
  return run(work);
}
int cuGetErrorName(int, const char** name) { return *name = "error", 0; }

int cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* status) {
  static void* const self = dlopen(SELF, RTLD_NOW);
  const std::string base(name);
  *function = nullptr;
  for (const auto& candidate : {base + "_v2", base})
    if (!*function) *function = dlsym(self, candidate.c_str());
  if (base == "cuGraphInstantiate") *function = reinterpret_cast<void*>(cuGraphInstantiateWithFlags);
  if (status) *status = *function ? 0 : 1;
  return 0;
}
}
