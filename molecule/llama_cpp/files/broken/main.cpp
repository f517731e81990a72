int main() {
    return this_name_was_never_declared;
}
