/* Notes what a process and its children ask of the network and of files, through the C library: preloaded into it.
 * One line each: a word and what it is about. WITNESS names the file that the lines are added to. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void note(const char* word, const char* what) {
    char line[2 * PATH_MAX];
    const char* log = getenv("WITNESS");
    if (!log) return;
    int file = REAL(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    int size = snprintf(line, sizeof line, "%s %s\n", word, what);
    if (file >= 0 && size > 0 && write(file, line, (size_t)size) != size) abort();
    if (file >= 0) close(file);
}

/* The path that is meant: from the root, links followed where it is there. */
static void note_path(const char* word, int folder, const char* path) {
    char whole[2 * PATH_MAX], base[PATH_MAX], link[64], found[PATH_MAX];
    if (!path) return;
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t size = folder == AT_FDCWD ? -1 : readlink(link, base, sizeof base - 1);
        if (size >= 0) base[size] = 0;
        else if (!getcwd(base, sizeof base)) return;
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    note(word, realpath(whole, found) ? found : whole);
}

static const char* word_of(int flags) {
    return (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) ? "write" : "read";
}

static int mode_of(int flags, va_list more) { return (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, int) : 0; }

#define OPEN(name)                                    \
    int name(const char* path, int flags, ...) {      \
        va_list more;                                 \
        va_start(more, flags);                        \
        int mode = mode_of(flags, more);              \
        va_end(more);                                 \
        note_path(word_of(flags), AT_FDCWD, path);    \
        return REAL(name)(path, flags, mode);         \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                          \
    int name(int folder, const char* path, int flags, ...) {  \
        va_list more;                                         \
        va_start(more, flags);                                \
        int mode = mode_of(flags, more);                      \
        va_end(more);                                         \
        note_path(word_of(flags), folder, path);              \
        return REAL(name)(folder, path, flags, mode);         \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                           \
    FILE* name(const char* path, const char* mode) {                          \
        note_path(strpbrk(mode, "wa+") ? "write" : "read", AT_FDCWD, path);   \
        return REAL(name)(path, mode);                                        \
    }
FOPEN(fopen)
FOPEN(fopen64)

int unlink(const char* path) { note_path("write", AT_FDCWD, path); return REAL(unlink)(path); }
int unlinkat(int folder, const char* path, int flags) { note_path("write", folder, path); return REAL(unlinkat)(folder, path, flags); }
int rmdir(const char* path) { note_path("write", AT_FDCWD, path); return REAL(rmdir)(path); }
int mkdir(const char* path, mode_t mode) { note_path("write", AT_FDCWD, path); return REAL(mkdir)(path, mode); }
int rename(const char* from, const char* to) {
    note_path("write", AT_FDCWD, from);
    note_path("write", AT_FDCWD, to);
    return REAL(rename)(from, to);
}
int execve(const char* path, char* const arguments[], char* const environment[]) {
    note_path("run", AT_FDCWD, path);
    return REAL(execve)(path, arguments, environment);
}

int connect(int fd, const struct sockaddr* address, socklen_t size) {
    char text[INET6_ADDRSTRLEN] = "?", line[128];
    int port = 0;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in* four = (const struct sockaddr_in*)address;
        inet_ntop(AF_INET, &four->sin_addr, text, sizeof text);
        port = ntohs(four->sin_port);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6* six = (const struct sockaddr_in6*)address;
        inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
        port = ntohs(six->sin6_port);
    } else {
        return REAL(connect)(fd, address, size);  /* of this machine alone */
    }
    snprintf(line, sizeof line, "%s:%d", text, port);
    note("connect", line);
    return REAL(connect)(fd, address, size);
}

int getaddrinfo(const char* node, const char* service, const struct addrinfo* hints, struct addrinfo** found) {
    note("ask", node ? node : "");
    return REAL(getaddrinfo)(node, service, hints, found);
}
