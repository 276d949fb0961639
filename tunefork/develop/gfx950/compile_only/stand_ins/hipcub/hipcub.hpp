// Stands in for hipCUB where no ROCm is: block-wide reduction and sums over LDS, written for this project.
// Their results are those of the interface; the order of a floating-point sum, and the code, are not hipCUB's.
#pragma once
#include <hip/hip_runtime.h>

namespace hipcub {

struct Sum {
  template <typename T> __host__ __device__ T operator()(const T& a, const T& b) const { return a + b; }
};
struct Max {
  template <typename T> __host__ __device__ T operator()(const T& a, const T& b) const { return a < b ? b : a; }
};
struct Min {
  template <typename T> __host__ __device__ T operator()(const T& a, const T& b) const { return b < a ? b : a; }
};
template <typename K, typename V>
struct KeyValuePair {
  typedef K Key;
  typedef V Value;
  K key;
  V value;
  __host__ __device__ KeyValuePair() {}
  __host__ __device__ KeyValuePair(const K& k, const V& v) : key(k), value(v) {}
};
struct ArgMax {
  template <typename K, typename V>
  __host__ __device__ KeyValuePair<K, V> operator()(const KeyValuePair<K, V>& a, const KeyValuePair<K, V>& b) const {
    return (b.value > a.value || (b.value == a.value && b.key < a.key)) ? b : a;
  }
};
enum BlockScanAlgorithm { BLOCK_SCAN_RAKING, BLOCK_SCAN_RAKING_MEMOIZE, BLOCK_SCAN_WARP_SCANS };
enum BlockReduceAlgorithm { BLOCK_REDUCE_RAKING_COMMUTATIVE_ONLY, BLOCK_REDUCE_RAKING, BLOCK_REDUCE_WARP_REDUCTIONS };

// Shared memory may not be initialised, so values with constructors lie in it as bytes.
template <typename T, int N>
struct Shared {
  alignas(T) char bytes[N * sizeof(T)];
  __device__ T& operator[](int at) { return reinterpret_cast<T*>(bytes)[at]; }
};

__device__ inline int linear_thread() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }

template <typename T, int X, int = BLOCK_REDUCE_WARP_REDUCTIONS, int Y = 1, int Z = 1, int = 0>
class BlockReduce {
 public:
  struct TempStorage { Shared<T, X * Y * Z> part; };
  __device__ explicit BlockReduce(TempStorage& storage) : storage_(storage) {}
  // The result is thread 0's alone. valid: how many of the first threads take part.
  template <typename Op>
  __device__ T Reduce(T input, Op op, int valid) {
    const int thread = linear_thread();
    storage_.part[thread] = input;
    __syncthreads();
    int width = 1;
    while (width < valid) width <<= 1;
    for (width >>= 1; width > 0; width >>= 1) {
      if (thread < width && thread + width < valid)
        storage_.part[thread] = op(storage_.part[thread], storage_.part[thread + width]);
      __syncthreads();
    }
    return storage_.part[0];
  }
  template <typename Op>
  __device__ T Reduce(T input, Op op) {
    return Reduce(input, op, int(blockDim.x * blockDim.y * blockDim.z));
  }
  __device__ T Sum(T input) { return Reduce(input, hipcub::Sum()); }
  __device__ T Sum(T input, int valid) { return Reduce(input, hipcub::Sum(), valid); }

 private:
  TempStorage& storage_;
};

template <typename T, int X, BlockScanAlgorithm = BLOCK_SCAN_RAKING, int Y = 1, int Z = 1, int = 0>
class BlockScan {
 public:
  struct TempStorage { Shared<T, X * Y * Z> part; };
  __device__ explicit BlockScan(TempStorage& storage) : storage_(storage) {}
  __device__ void InclusiveSum(T input, T& output) {
    const int thread = linear_thread(), threads = blockDim.x * blockDim.y * blockDim.z;
    storage_.part[thread] = input;
    __syncthreads();
    for (int step = 1; step < threads; step <<= 1) {
      T before = thread >= step ? storage_.part[thread - step] : T();
      __syncthreads();
      if (thread >= step) storage_.part[thread] = storage_.part[thread] + before;
      __syncthreads();
    }
    output = storage_.part[thread];
  }
  __device__ void ExclusiveSum(T input, T& output) {
    T through;
    InclusiveSum(input, through);
    output = through - input;
  }
  __device__ void ExclusiveSum(T input, T& output, T& all) {
    ExclusiveSum(input, output);
    all = storage_.part[blockDim.x * blockDim.y * blockDim.z - 1];
  }

 private:
  TempStorage& storage_;
};

}  // namespace hipcub
