# Compiles a few of llama.cpp's own files for GPUs with exactly the options that the role gave to CMake: compile_real.sh LOG SOURCE DIRECTORY
set -eu
configure=$(sed -n 's/^+ \(cmake -S .*\)/\1/p' "$1")
here=/opt/llama.cpp/releases/.build-here
mkdir -p "$3/source"
tar -xzf "$2" -C "$3/source" --strip-components=1
# An array, for a value may hold semicolons and dollar signs.
set -f
IFS=' '
set -- "$3" $(printf '%s' "$configure" | sed "s,$here,$3,g")
directory=$1
shift
CCACHE_DIR=/srv/compiled "$@"
objects=ggml/src/ggml-cuda/CMakeFiles/ggml-cuda.dir
cmake --build "$directory/build" --parallel 2 --target \
  "$objects/scale.cu.o" "$objects/norm.cu.o" "$objects/template-instances/fattn-vec-instance-q8_0-q8_0.cu.o"
