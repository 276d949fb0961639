// Stands in for hipSPARSE: the types that torch's headers name.
#pragma once
#include <hip/hip_runtime.h>
typedef void* hipsparseHandle_t;
