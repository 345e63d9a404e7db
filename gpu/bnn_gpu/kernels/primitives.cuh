// SPDX-License-Identifier: Apache-2.0
// The instructions that CUDA C++ has no words for. Everything else in this folder is plain C++, so that the tests can
// run it on a CPU with a header of the same name that emulates these functions from PTX's documented layouts.
#pragma once

using u64 = unsigned long long;

// What two operands of 32 bytes a row come to. POPC: sum popc(a ^ b) on CUDA cores. XOR: the same on tensor cores
// (sm_75). AND: sum popc(a & b) on tensor cores (sm_80 to sm_90). U8, S8: sum a * b of uint8 or int8 a and int8 b.
enum Product { POPC = 0, XOR = 1, AND = 2, U8 = 3, S8 = 4 };

// The start of the block's dynamic shared memory.
__device__ __forceinline__ unsigned char* dynamic_memory() {
  extern __shared__ __align__(1024) unsigned char memory[];
  return memory;
}

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Copies BYTES (4, 8 or 16) from global to shared memory, or zeros where not `valid`; done after wait_copies.
template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
#if __CUDA_ARCH__ >= 800
  if constexpr (BYTES == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from), "n"(BYTES), "r"(valid ? BYTES : 0) : "memory");
#else
  if constexpr (BYTES == 16) *static_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
  if constexpr (BYTES == 8) *static_cast<uint2*>(to) = valid ? *static_cast<const uint2*>(from) : uint2{0, 0};
  if constexpr (BYTES == 4) *static_cast<unsigned*>(to) = valid ? *static_cast<const unsigned*>(from) : 0;
#endif
}

__device__ __forceinline__ void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most PENDING groups of this thread's copies are under way.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// ldmatrix.x4: four matrices of 8 rows of 16 bytes, whose row addresses lanes 0-7, 8-15, 16-23 and 24-31 give. r[i] is bytes
// 4 * (lane % 4)... of row lane / 4 of matrix i.
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// c += a * b for 16 rows, 8 columns and 32 bytes of K. With g = lane / 4, q = lane % 4: a = bytes 4q... of row g, of row g + 8, and
// bytes 16 + 4q... of both; b = bytes 4q... and 16 + 4q... of column g; c = row g, columns 2q and 2q + 1, then row g + 8.
template <Product PRODUCT>
__device__ __forceinline__ void multiply_16x8(int (&c)[4], const unsigned (&a)[4], const unsigned* b) {
#define BNN_MMA_16(NAME)                                                                                              \
  asm volatile(NAME " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                \
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#define BNN_MMA_8(NAME)                                                                                               \
  for (int part = 0; part < 4; ++part)                                                                                \
  asm volatile(NAME " {%0, %1}, {%2}, {%3}, {%0, %1};"                                                                \
               : "+r"(c[2 * (part % 2)]), "+r"(c[2 * (part % 2) + 1]) : "r"(a[part]), "r"(b[part / 2]))
  if constexpr (PRODUCT == AND) BNN_MMA_16("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc");
  if constexpr (PRODUCT == XOR) BNN_MMA_8("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc");
#if __CUDA_ARCH__ >= 800
  if constexpr (PRODUCT == U8) BNN_MMA_16("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32");
  if constexpr (PRODUCT == S8) BNN_MMA_16("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32");
#else
  if constexpr (PRODUCT == U8) BNN_MMA_8("mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32");
  if constexpr (PRODUCT == S8) BNN_MMA_8("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32");
#endif
#undef BNN_MMA_16
#undef BNN_MMA_8
}

// sum + the products of four uint8 or int8 with four int8.
template <Product PRODUCT>
__device__ __forceinline__ int multiply_bytes(unsigned a, unsigned b, int sum) {
  if constexpr (PRODUCT == U8) asm("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
  if constexpr (PRODUCT == S8) asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
  return sum;
}

// Lets the next kernel of a programmatic launch start; and waits for the kernel before it to be done (sm_90 on).
__device__ __forceinline__ void launch_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ void wait_for_dependencies() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ long long clock_cycles() { return clock64(); }
