/* tools/cereus/new.c: `cereus new`: writes a game to begin with. Its files are templates/, embedded when this is built:
 * those of common/, and those of json/ or typed/. In texts and paths @NAME@ stands for the game's name. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cereus/types.h>

#include "commands.h"

enum { NAME_MAX_LEN = 32 };

static const struct {
    const char *kind, *path, *text;
    size_t len;
} templates[] = {
#include "templates.inc"
};

const char crs_usage_new[] = "usage: cereus new [options] NAME\n\n"
                             "  --json    a service whose handlers take JSON; the default\n"
                             "  --typed   a service from a .proto\n\n"
                             "Makes the folder NAME with a game: a service, settings, a test, a Meson build. NAME is "
                             "made of a-z, 0-9 and\n_, begins with a letter, and has at most 32 characters.\n";

static int bad(const char *name, const char *why)
{
    fprintf(stderr, "cereus new: %s: %s\n", name, why);
    return 2;
}

/* What is wrong with a name; NULL: nothing. It becomes a folder, a program, a server type. */
static const char *refuse_name(const char *name)
{
    static const char *const taken[] = {
        "all",     "benchmark",   "build", "clean", "cereus",    "dist",     "game",
        "install", "reconfigure", "src",   "test",  "test_game", "uninstall"}; /* targets of Meson's and of the game */
    if (!islower((unsigned char)name[0]))
        return "a name begins with one of a-z";
    if (strlen(name) > NAME_MAX_LEN)
        return "a name has at most 32 characters";
    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")])
        return "a name is made of a-z, 0-9 and _";
    for (size_t i = 0; i < CEREUS_COUNT(taken); i++)
        if (strcmp(name, taken[i]) == 0)
            return "that name means something else in a build; choose another";
    return NULL;
}

static void write_filled(FILE *out, const char *text, size_t len, const char *name)
{
    static const char mark[] = "@NAME@";
    const char *end = text + len;
    while (text < end) {
        const char *at = strstr(text, mark);
        fwrite(text, 1, (size_t)((at ? at : end) - text), out);
        if (at)
            fputs(name, out);
        text = at ? at + strlen(mark) : end;
    }
}

/* Make the folders that @p path names before its last part. */
static int make_folders(char *path)
{
    for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, 0777);
        *slash = '/';
        if (rc && errno != EEXIST)
            return -1;
    }
    return 0;
}

static int write_file(const char *name, const char *path, const char *text, size_t len)
{
    char full[200];
    const char *dot = strcmp(path, "gitignore") == 0 ? "." : ""; /* with its dot it would concern our own repository */
    snprintf(full, sizeof full, "%s/%s%s", name, dot, path);
    int fd = make_folders(full) ? -1 : open(full, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out) {
        if (fd >= 0)
            close(fd);
        return bad(full, strerror(errno));
    }
    write_filled(out, text, len, name);
    bool written = !ferror(out);
    written = fclose(out) == 0 && written;
    return written ? 0 : bad(full, "cannot be written");
}

static int usage(FILE *out)
{
    fputs(crs_usage_new, out);
    return out == stdout ? 0 : 2;
}

int crs_cmd_new(int argc, char **argv)
{
    const char *kind = "json", *name = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return usage(stdout);
        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "--typed") == 0)
            kind = argv[i] + 2;
        else if (argv[i][0] == '-' || name)
            return bad(argv[i], "is not understood, see `cereus new --help`");
        else
            name = argv[i];
    }
    if (!name)
        return usage(stderr);
    const char *why = refuse_name(name);
    if (why)
        return bad(name, why);
    if (mkdir(name, 0777)) {
        bad(name, errno == EEXIST ? "exists already; choose another name, or move it away" : strerror(errno));
        return 1;
    }
    for (size_t i = 0; i < CEREUS_COUNT(templates); i++)
        if (strcmp(templates[i].kind, "common") == 0 || strcmp(templates[i].kind, kind) == 0)
            if (write_file(name, templates[i].path, templates[i].text, templates[i].len))
                return 1;
    printf("%s is made. Build it, test it, run it:\n\n"
           "  cd %s\n"
           "  meson setup build && ninja -C build\n"
           "  meson test -C build\n"
           "  build/%s --config game.yaml\n",
           name, name, name);
    return 0;
}
