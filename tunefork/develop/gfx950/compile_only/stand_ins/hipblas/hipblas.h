// Stands in for hipBLAS: the types that torch's headers name.
#pragma once
#include <hip/hip_runtime.h>
typedef void* hipblasHandle_t;
typedef int hipblasStatus_t;
