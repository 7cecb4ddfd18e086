/* tests/unit/config/load_yaml.h: a file called game.yaml in a directory of its own, for as long as it takes to load it.
 */
#ifndef LOAD_YAML_H
#define LOAD_YAML_H

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <cereus/config.h>

static inline cereus_status load_yaml_bytes(cereus_config *cfg, const void *data, size_t len, cereus_error *err)
{
    char dir[] = "/tmp/cereus-test-XXXXXX", was[PATH_MAX];
    assert_non_null(getcwd(was, sizeof was));
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chdir(dir), 0);
    int fd = open("game.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
    cereus_status st = cereus_config_load_file(cfg, "game.yaml", err);
    unlink("game.yaml");
    assert_int_equal(chdir(was), 0);
    rmdir(dir);
    return st;
}

static inline cereus_status load_yaml(cereus_config *cfg, const char *text, cereus_error *err)
{
    return load_yaml_bytes(cfg, text, strlen(text), err);
}

#endif
