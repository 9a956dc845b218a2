/* Stands between a process and its disk and clock (LD_PRELOAD); Linux only.
 *
 * S7_SHIM_CONTROL  a file of 4096 bytes that is mapped and read at each call (layout below)
 * S7_SHIM_PREFIX   the files that are looked after: those whose absolute path begins so
 * S7_SHIM_JOURNAL  a file to which what is done to them is appended, once it is done
 *
 * Only memory-mapped writes escape: SQLite uses them for its -shm file alone, which no crash keeps.
 * No locks and nothing freed: it is used by all threads and inherited by fork.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct control {
    _Atomic int64_t clock_offset_us; /*  0: added to CLOCK_REALTIME */
    _Atomic int32_t error;           /*  8: the errno given; 0: none */
    _Atomic int32_t calls;           /* 12: which calls fail, a sum of the three below; 0: all */
    _Atomic int64_t failed;          /* 16: how many calls have failed so */
    _Atomic int64_t times;           /* 24: how many more fail; 0: no limit, below 0: used up */
};
enum { CALL_WRITE = 1, CALL_SYNC = 2, CALL_SIZE = 4 };
enum { WRITE = 1, TRUNCATE, CREATE, UNLINK, RENAME, SYNC, SYNC_DIRECTORY, SYNC_FAILED };

struct record { /* then the path, then the data */
    uint32_t magic;
    uint16_t kind;
    uint16_t path_length;
    int64_t offset; /* of a write; the new size for TRUNCATE */
    int64_t length; /* of the data; for RENAME of the new path */
};
#define MAGIC 0x53375348u
#define DESCRIPTORS 65536

struct name {
    struct name *next;
    int directory;
    char path[];
};

static struct control *control;
static char prefix[PATH_MAX];
static size_t prefix_length;
static int journal = -1;
static _Atomic(struct name *) names;
static _Atomic(struct name *) opened[DESCRIPTORS];
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static long sys_open(int at, const char *path, int flags, mode_t mode) {
    return syscall(SYS_openat, at, path, flags, mode);
}

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("S7_SHIM_CONTROL");
    if (path) {
        int fd = (int)sys_open(AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
        if (fd >= 0) {
            void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (page != MAP_FAILED) control = page;
            syscall(SYS_close, fd);
        }
    }
    path = getenv("S7_SHIM_PREFIX");
    if (path && strlen(path) < sizeof prefix) {
        strcpy(prefix, path);
        prefix_length = strlen(path);
    }
    path = getenv("S7_SHIM_JOURNAL");
    if (path && prefix_length) {
        int fd = (int)sys_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) { /* out of the way of programs that count on low numbers */
            journal = fcntl(fd, F_DUPFD_CLOEXEC, 900);
            syscall(SYS_close, fd);
        }
    }
}

/* ------------------------------------------------------------------ which files are ours */

static int ours(const char *path) {
    return prefix_length && strncmp(path, prefix, prefix_length) == 0;
}

/* The folder that holds ours: SQLite syncs it when it has made a file. */
static int our_folder(const char *path) {
    const char *last = strrchr(prefix, '/');
    size_t length = last ? (size_t)(last - prefix) : 0;
    return length && strlen(path) == length && strncmp(path, prefix, length) == 0;
}

static struct name *named(const char *path, int directory) {
    for (struct name *each = atomic_load(&names); each; each = each->next)
        if (each->directory == directory && strcmp(each->path, path) == 0) return each;
    struct name *fresh = malloc(sizeof *fresh + strlen(path) + 1);
    if (!fresh) return NULL;
    strcpy(fresh->path, path);
    fresh->directory = directory;
    fresh->next = atomic_load(&names);
    while (!atomic_compare_exchange_weak(&names, &fresh->next, fresh)) {}
    return fresh;
}

/* The absolute path of what a call names; 0 when it is none of ours. */
static int resolve(int at, const char *path, char *full, size_t size) {
    if (!prefix_length || !path) return 0;
    if (path[0] == '/') {
        if (strlen(path) >= size) return 0;
        strcpy(full, path);
        return ours(full);
    }
    char folder[PATH_MAX];
    if (at == AT_FDCWD) {
        if (syscall(SYS_getcwd, folder, sizeof folder) < 0) return 0;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, folder, sizeof folder - 1);
        if (n < 0) return 0;
        folder[n] = 0;
    }
    if (path[0] == '.' && path[1] == '/') path += 2;
    if ((size_t)snprintf(full, size, "%s/%s", folder, path) >= size) return 0;
    return ours(full);
}

static struct name *of(int fd) {
    return fd >= 0 && fd < DESCRIPTORS ? atomic_load(&opened[fd]) : NULL;
}

static void forget(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS) atomic_store(&opened[fd], NULL);
}

/* ------------------------------------------------------------------ faults and the journal */

static int fails(int call) {
    if (!control) return 0;
    int error = atomic_load(&control->error);
    int calls = atomic_load(&control->calls);
    if (!error || (calls && !(calls & call))) return 0;
    int64_t times = atomic_load(&control->times);
    while (times) {
        if (times < 0) return 0;
        int64_t left = times == 1 ? -1 : times - 1;
        if (atomic_compare_exchange_weak(&control->times, &times, left)) break;
    }
    atomic_fetch_add(&control->failed, 1);
    errno = error;
    return 1;
}

static void note(int kind, const char *path, int64_t offset, const void *data, int64_t length) {
    if (journal < 0) return;
    int kept = errno;
    struct record record = {MAGIC, (uint16_t)kind, (uint16_t)strlen(path), offset, length};
    struct iovec parts[3] = {
        {&record, sizeof record},
        {(void *)path, record.path_length},
        {(void *)data, data ? (size_t)length : 0},
    };
    syscall(SYS_writev, journal, parts, 3);
    errno = kept;
}

/* ------------------------------------------------------------------ opening and closing */

static int open_noted(int at, const char *path, int flags, mode_t mode) {
    char full[PATH_MAX] = "";
    int mine = resolve(at, path, full, sizeof full) || our_folder(full);
    int made = mine && (flags & O_CREAT) && syscall(SYS_faccessat, at, path, F_OK) != 0;
    int fd = (int)sys_open(at, path, flags, mode);
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    if (!mine) {
        forget(fd);
        return fd;
    }
    int kept = errno;
    struct stat state;
    int directory = fstat(fd, &state) == 0 && S_ISDIR(state.st_mode);
    atomic_store(&opened[fd], named(full, directory));
    if (made) note(CREATE, full, 0, NULL, 0);
    else if ((flags & O_TRUNC) && !directory) note(TRUNCATE, full, 0, NULL, 0);
    errno = kept;
    return fd;
}

#define MODE(flags)                            \
    mode_t mode = 0;                           \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {   \
        va_list rest;                          \
        va_start(rest, flags);                 \
        mode = va_arg(rest, mode_t);           \
        va_end(rest);                          \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return open_noted(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open_noted(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
int openat(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_noted(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
    MODE(flags)
    return open_noted(at, path, flags | O_LARGEFILE, mode);
}
int __open_2(const char *path, int flags) { return open_noted(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_noted(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) {
    return open_noted(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int __openat_2(int at, const char *path, int flags) { return open_noted(at, path, flags, 0); }
int __openat64_2(int at, const char *path, int flags) { return open_noted(at, path, flags, 0); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    forget(fd);
    return (int)syscall(SYS_close, fd);
}

/* ------------------------------------------------------------------ writing */

ssize_t write(int fd, const void *data, size_t length) {
    struct name *name = of(fd);
    if (name && fails(CALL_WRITE)) return -1;
    ssize_t done = syscall(SYS_write, fd, data, length);
    if (name && done > 0 && journal >= 0) {
        int kept = errno;
        off_t end = lseek(fd, 0, SEEK_CUR);
        errno = kept;
        note(WRITE, name->path, end - done, data, done);
    }
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    struct name *name = of(fd);
    if (name && fails(CALL_WRITE)) return -1;
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, offset);
    if (name && done > 0) note(WRITE, name->path, offset, data, done);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}

int ftruncate64(int fd, off64_t length) {
    struct name *name = of(fd);
    if (name && fails(CALL_SIZE)) return -1;
    int code = (int)syscall(SYS_ftruncate, fd, length);
    if (name && code == 0) note(TRUNCATE, name->path, length, NULL, 0);
    return code;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Room is taken without data: it changes no file's content that a crash could lose. */
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    if (of(fd) && fails(CALL_SIZE)) return -1;
    return (int)syscall(SYS_fallocate, fd, mode, offset, length);
}
int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate64(fd, mode, offset, length);
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    return fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate(int fd, off_t offset, off_t length) {
    return posix_fallocate64(fd, offset, length);
}

/* ------------------------------------------------------------------ syncing, names */

static int sync_noted(long number, int fd) {
    struct name *name = of(fd);
    if (name && fails(CALL_SYNC)) {
        note(SYNC_FAILED, name->path, 0, NULL, 0);
        return -1;
    }
    int code = (int)syscall(number, fd);
    if (name && code == 0)
        note(name->directory ? SYNC_DIRECTORY : SYNC, name->path, 0, NULL, 0);
    return code;
}
int fsync(int fd) { return sync_noted(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_noted(SYS_fdatasync, fd); }

int unlinkat(int at, const char *path, int flags) {
    char full[PATH_MAX];
    int mine = resolve(at, path, full, sizeof full);
    int code = (int)syscall(SYS_unlinkat, at, path, flags);
    if (mine && code == 0 && !(flags & AT_REMOVEDIR)) note(UNLINK, full, 0, NULL, 0);
    return code;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int renameat(int from_at, const char *from, int to_at, const char *to) {
    char old[PATH_MAX] = "", fresh[PATH_MAX] = "";
    int mine = resolve(from_at, from, old, sizeof old);
    mine |= resolve(to_at, to, fresh, sizeof fresh);
    int code = (int)syscall(SYS_renameat2, from_at, from, to_at, to, 0);
    if (mine && code == 0) note(RENAME, old, 0, fresh, (int64_t)strlen(fresh));
    return code;
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

/* ------------------------------------------------------------------ the clock */

static int64_t offset_us(void) { return control ? atomic_load(&control->clock_offset_us) : 0; }

int clock_gettime(clockid_t clock, struct timespec *when) {
    int code = real_clock_gettime ? real_clock_gettime(clock, when)
                                  : (int)syscall(SYS_clock_gettime, clock, when);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t offset = offset_us();
        int64_t nanos = when->tv_nsec + (offset % 1000000) * 1000;
        when->tv_sec += offset / 1000000;
        if (nanos < 0) nanos += 1000000000, when->tv_sec--;
        if (nanos >= 1000000000) nanos -= 1000000000, when->tv_sec++;
        when->tv_nsec = (long)nanos;
    }
    return code;
}

int gettimeofday(struct timeval *restrict when, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int code = clock_gettime(CLOCK_REALTIME, &now);
    when->tv_sec = now.tv_sec;
    when->tv_usec = now.tv_nsec / 1000;
    return code;
}

time_t time(time_t *when) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (when) *when = now.tv_sec;
    return now.tv_sec;
}
