/* Runs every file of a folder through a fuzz target, then cuts and flips of each: the corpora as a plain test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned runs;

/* On the heap and of the exact size, so that a sanitizer sees every byte read past the end. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static void run_file(const char *path)
{
    static uint8_t buf[1 << 20];
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(1);
    }
    size_t n = fread(buf, 1, sizeof buf, f);
    fclose(f);
    run(buf, n);
    size_t step = n / 200 + 1;
    for (size_t i = 0; i < n; i += step)
        run(buf, i);
    for (size_t i = 0; i < n; i += step)
        for (int bit = 0; bit < 8; bit += 3) {
            buf[i] ^= (uint8_t)(1 << bit);
            run(buf, n);
            buf[i] ^= (uint8_t)(1 << bit);
        }
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        struct dirent *e;
        if (!d) {
            perror(argv[i]);
            return 1;
        }
        while ((e = readdir(d)))
            if (e->d_name[0] != '.') {
                char path[1024];
                snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
                run_file(path);
                files++;
            }
        closedir(d);
    }
    printf("%u files, %u runs\n", files, runs);
    return files ? 0 : 1;
}
