#include <cstdio>

int main() {
    std::puts("version: " SAYS);
    return 0;
}
