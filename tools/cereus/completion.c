/* tools/cereus/completion.c: `cereus completion SHELL`, what Tab knows. All of it is read from what --help prints, so
 * there is nothing to keep in step: names and texts of the commands from their table, flags from their usage texts (a
 * line that begins with a dash, or one that begins with the command itself), the keys that `config print` takes as flags
 * from the table of settings. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "config/config.h"

enum { FLAG_MAX = 64 };

const char crs_usage_completion[] = "usage: cereus completion bash|zsh|fish\n\n"
                                    "Prints the completions of that shell. In bash, for now:\n\n"
                                    "  . <(cereus completion bash)\n";

typedef void flag_fn(const char *flag, const char *text, int text_len);

/* The next "--flag" of a line; NULL: no more. */
static const char *next_flag(const char *at, const char *end, char flag[static FLAG_MAX])
{
    for (; end - at > 2; at++) {
        if (at[0] != '-' || at[1] != '-' || !islower((unsigned char)at[2]) || isalnum((unsigned char)at[-1]))
            continue;
        size_t len = strspn(at + 2, "abcdefghijklmnopqrstuvwxyz-");
        snprintf(flag, FLAG_MAX, "%.*s", (int)len, at + 2);
        return at + 2 + len;
    }
    return NULL;
}

/* Whatever stands behind two blanks in the line is what its flag means. */
static const char *meaning(const char *at, const char *end, int *ret_len)
{
    for (; end - at > 2; at++)
        if (at[0] == ' ' && at[1] == ' ' && at[2] != ' ') {
            *ret_len = (int)(end - at - 2);
            return at + 2;
        }
    *ret_len = 0;
    return "";
}

/* A line "usage: cereus ..." or "       cereus ...": where the call begins; NULL: it is none. */
static const char *is_call(const char *line)
{
    const char *text = line + (strncmp(line, "usage: ", 7) == 0 ? 7 : strspn(line, " "));
    return text > line && strncmp(text, "cereus ", 7) == 0 ? text : NULL;
}

/* Tell @p fn of each flag once: first those that have a line of their own, which says what they mean. */
static void each_flag(const crs_command *command, flag_fn *fn)
{
    char seen[4096] = " ";
    for (int of_calls = 0; of_calls < 2; of_calls++)
        for (const char *line = command->usage, *end; *line; line = *end ? end + 1 : end) {
            end = strchrnul(line, '\n');
            const char *text = line + strspn(line, " ");
            if (of_calls ? !is_call(line) : *text != '-')
                continue;
            int len;
            const char *means = meaning(text, end, &len), *stop = !of_calls && len ? means : end;
            char flag[FLAG_MAX], word[FLAG_MAX + 2];
            for (const char *at = text; (at = next_flag(at, stop, flag));) {
                snprintf(word, sizeof word, " %s ", flag);
                if (strstr(seen, word) || strlen(seen) + strlen(word) >= sizeof seen)
                    continue;
                strcat(seen, word + 1);
                fn(flag, of_calls ? "" : means, of_calls ? 0 : len);
            }
        }
    if (!strstr(seen, " help "))
        fn("help", "print what the command does", 27);
}

/* Print the words that may come first, "check" and "print" of `cereus config check` and `print`, each behind @p before. */
static void print_words(const crs_command *command, const char *before, const char *after)
{
    for (const char *line = command->usage, *end; *line; line = *end ? end + 1 : end) {
        end = strchrnul(line, '\n');
        const char *word = is_call(line);
        if (!word)
            continue;
        word = strchrnul(word + strlen("cereus "), ' ');
        word += strspn(word, " ");
        while (islower((unsigned char)*word)) {
            int len = (int)strspn(word, "abcdefghijklmnopqrstuvwxyz");
            printf("%s%.*s%s", before, len, word, after);
            word += len + (word[len] == '|');
        }
    }
}

static bool has_keys(const crs_command *command)
{
    return strcmp(command->name, "config") == 0;
}

/* Into single quotes of any of the shells. */
static void put_quoted(const char *text, int len)
{
    for (int i = 0; i < len; i++)
        if (text[i] == '\'')
            fputs("'\\''", stdout);
        else
            putchar(text[i]);
}

static void bash_flag(const char *flag, const char *text, int text_len)
{
    printf(" --%s", flag);
}

static void zsh_flag(const char *flag, const char *text, int text_len)
{
    printf(" '--%s:", flag);
    put_quoted(text, text_len);
    putchar('\'');
}

static const char *fish_command; /* whose flags are printed */

static void fish_flag(const char *flag, const char *text, int text_len)
{
    printf("complete -c cereus -n '__fish_seen_subcommand_from %s' -l %s -d '", fish_command, flag);
    put_quoted(text, text_len);
    puts("'");
}

static void print_bash(const crs_command *commands, size_t count)
{
    puts("# bash completion for cereus, printed by `cereus completion bash`\n"
         "_cereus() {\n"
         "    local words cur=${COMP_WORDS[COMP_CWORD]}\n"
         "    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    printf("        words='");
    for (size_t i = 0; i < count; i++)
        if (commands[i].text)
            printf("%s ", commands[i].name);
    puts("'\n    else\n        case ${COMP_WORDS[1]} in");
    for (size_t i = 0; i < count; i++) {
        if (!commands[i].usage)
            continue;
        printf("        %s) words='", commands[i].name);
        each_flag(&commands[i], bash_flag);
        for (size_t k = 0; has_keys(&commands[i]) && k < CRS_CONFIG_KEYS; k++)
            printf(" --%s=", crs_config_info_of((crs_config_key)k)->name);
        puts("'");
        print_words(&commands[i], "            [ \"$COMP_CWORD\" -ne 2 ] || words+=' ", "'\n");
        puts("            ;;");
    }
    puts("        esac\n"
         "    fi\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "    [[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null\n"
         "}\n"
         "complete -o default -F _cereus cereus");
}

static void print_zsh(const crs_command *commands, size_t count)
{
    puts("#compdef cereus\n"
         "# zsh completion for cereus, printed by `cereus completion zsh`\n"
         "_cereus() {\n"
         "    local -a found\n"
         "    if (( CURRENT == 2 )); then\n"
         "        found=(");
    for (size_t i = 0; i < count; i++)
        if (commands[i].text) {
            printf("            '%s:", commands[i].name);
            put_quoted(commands[i].text, (int)strlen(commands[i].text));
            puts("'");
        }
    puts("        )\n"
         "        _describe command found\n"
         "        return\n"
         "    fi\n"
         "    case $words[2] in");
    for (size_t i = 0; i < count; i++) {
        if (!commands[i].usage)
            continue;
        printf("    %s) found=(", commands[i].name);
        each_flag(&commands[i], zsh_flag);
        for (size_t k = 0; has_keys(&commands[i]) && k < CRS_CONFIG_KEYS; k++)
            printf(" '--%s='", crs_config_info_of((crs_config_key)k)->name);
        puts(")");
        print_words(&commands[i], "        (( CURRENT != 3 )) || found+=(", ")\n");
        puts("        ;;");
    }
    puts("    esac\n"
         "    [[ $words[CURRENT] == -* ]] || found=(${found:#--*})\n"
         "    _describe argument found\n"
         "    [[ $words[CURRENT] == -* ]] || _files\n"
         "}\n"
         "if [[ $funcstack[1] == _cereus ]]; then _cereus \"$@\"; else compdef _cereus cereus; fi");
}

static void print_fish(const crs_command *commands, size_t count)
{
    puts("# fish completion for cereus, printed by `cereus completion fish`");
    for (size_t i = 0; i < count; i++) {
        if (commands[i].text) {
            printf("complete -c cereus -n __fish_use_subcommand -f -a %s -d '", commands[i].name);
            put_quoted(commands[i].text, (int)strlen(commands[i].text));
            puts("'");
        }
        fish_command = commands[i].name;
        if (commands[i].usage)
            each_flag(&commands[i], fish_flag);
        char before[FLAG_MAX * 2];
        snprintf(before, sizeof before, "complete -c cereus -n '__fish_seen_subcommand_from %s' -a ", commands[i].name);
        if (commands[i].usage)
            print_words(&commands[i], before, "\n");
        for (size_t k = 0; has_keys(&commands[i]) && k < CRS_CONFIG_KEYS; k++)
            printf("complete -c cereus -n '__fish_seen_subcommand_from %s' -a --%s=\n", commands[i].name,
                   crs_config_info_of((crs_config_key)k)->name);
    }
}

int crs_cmd_completion(int argc, char **argv)
{
    size_t count;
    const crs_command *commands = crs_commands(&count);
    const char *shell = argc == 2 ? argv[1] : "";
    if (strcmp(shell, "bash") == 0)
        print_bash(commands, count);
    else if (strcmp(shell, "zsh") == 0)
        print_zsh(commands, count);
    else if (strcmp(shell, "fish") == 0)
        print_fish(commands, count);
    else if (strcmp(shell, "--help") == 0)
        fputs(crs_usage_completion, stdout);
    else {
        fputs(crs_usage_completion, stderr);
        return 2;
    }
    return fflush(stdout) ? 1 : 0;
}
