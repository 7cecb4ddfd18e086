/* tests/fuzz/replay_main.c: runs a fuzz target over files, without a fuzzing compiler: every file named on the command
 * line, and every file in every directory named there. The ordinary test run does this with the corpus, in which past
 * crashes are kept. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"

static size_t replayed;

static void die(const char *what, const char *path)
{
    fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

static void replay_file(const char *path, size_t size)
{
    uint8_t *data = malloc(size ? size : 1);
    FILE *f = fopen(path, "rb");
    if (!data || !f || fread(data, 1, size, f) != size)
        die("cannot read", path);
    fclose(f);
    fprintf(stderr, "%s\n", path); /* the last one named is the one that crashed */
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
}

static void replay(const char *path);

static void replay_directory(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        die("cannot open", path);
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        char inside[4096];
        int len = snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        if (len < 0 || (size_t)len >= sizeof inside)
            die("name too long in", path);
        replay(inside);
    }
    closedir(dir);
}

static void replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        die("cannot find", path);
    if (S_ISDIR(st.st_mode))
        replay_directory(path);
    else
        replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%zu inputs replayed\n", replayed);
    return replayed ? 0 : 1;
}
