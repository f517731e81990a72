// A kernel and its call: what it takes to need nvcc, its device linker and the toolkit's library.
#include <cuda_runtime.h>

__global__ void twice(float *values, int count) {
  int place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place < count) {
    values[place] *= 2.0f;
  }
}

int library_version() {
  int version = 0;
  cudaRuntimeGetVersion(&version);
  return version;
}

int double_on_card(float *values, int count) {
  twice<<<(count + 255) / 256, 256>>>(values, count);
  return static_cast<int>(cudaGetLastError());
}
