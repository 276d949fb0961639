// Stands in for hipBLASLt: the types that torch's headers name.
#pragma once
#include <hip/hip_runtime.h>
typedef void* hipblasLtHandle_t;
