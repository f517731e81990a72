#include <cstdio>
#include <cstring>

int library_version();
int double_on_card(float *values, int count);

int main(int count, char **words) {
  if (count > 1 && std::strcmp(words[1], "--list-devices") == 0) {
    std::printf("Available devices:\n  (none)\n");
    return 0;
  }
  if (count > 1 && std::strcmp(words[1], "--double") == 0) {
    return double_on_card(nullptr, 0);
  }
  std::printf("version: " SAYS " with CUDA %d\n", library_version());
  return 0;
}
