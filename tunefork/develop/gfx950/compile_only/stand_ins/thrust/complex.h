// Stands in for rocThrust's complex.h: what torch's headers name. The functions are declared alone.
#pragma once
#include <cfloat>
#include <cmath>
#include <complex>
namespace thrust {
template <typename T>
struct complex {
  T re, im;
  __host__ __device__ constexpr complex(T r = T(), T i = T()) : re(r), im(i) {}
  __host__ __device__ constexpr T real() const { return re; }
  __host__ __device__ constexpr T imag() const { return im; }
};
template <typename T> __host__ __device__ T abs(const complex<T>&);
template <typename T> __host__ __device__ T arg(const complex<T>&);
template <typename T> __host__ __device__ complex<T> polar(const T&, const T& = T());
#define TUNEFORK_UNARY(name) template <typename T> __host__ __device__ complex<T> name(const complex<T>&);
TUNEFORK_UNARY(exp) TUNEFORK_UNARY(log) TUNEFORK_UNARY(log10) TUNEFORK_UNARY(sqrt)
TUNEFORK_UNARY(sin) TUNEFORK_UNARY(cos) TUNEFORK_UNARY(tan) TUNEFORK_UNARY(asin) TUNEFORK_UNARY(acos) TUNEFORK_UNARY(atan)
TUNEFORK_UNARY(sinh) TUNEFORK_UNARY(cosh) TUNEFORK_UNARY(tanh) TUNEFORK_UNARY(asinh) TUNEFORK_UNARY(acosh) TUNEFORK_UNARY(atanh)
#undef TUNEFORK_UNARY
template <typename T, typename S> __host__ __device__ complex<T> pow(const complex<T>&, const complex<S>&);
template <typename T, typename S> __host__ __device__ complex<T> pow(const complex<T>&, const S&);
template <typename T, typename S> __host__ __device__ complex<T> pow(const T&, const complex<S>&);
}  // namespace thrust
