// Stands in for hipSOLVER: the types that torch's headers name.
#pragma once
#include <hip/hip_runtime.h>
typedef void* hipsolverDnHandle_t;
typedef int hipsolverStatus_t;
