/*
 * reapi-cc COMPILER ARGUMENTS...: asks the daemon of this user what becomes of a call of a compiler.
 *
 * Either the daemon has done it, and this prints what the compiler printed and exits as it did, or
 * the call is for this machine: then this process becomes the compiler. The connection stays open
 * across exec, so that its end tells the daemon that the compiler has ended, however it ended. Any
 * trouble with the daemon leads to the compiler, too. A signal may end this process at any time: the
 * daemon sees the connection close and drops the work.
 *
 * Built with REAPI_PYTHON, REAPI_ENTRY and REAPI_KEY: the interpreter, entry.py, and the name of the
 * socket. messages.py describes the messages; python_stub.py does the same where this cannot be built.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAGIC = 0x52434331, FINISHED = 0, LOCAL = 1, WORKING = 2, STDERR_IS_TERMINAL = 1 };
/* One daemon may die of a call, the next connection be lost in its backlog, a new one answer. */
enum { ATTEMPTS = 3 };
enum { FIRST_ANSWER_MILLISECONDS = 30000, QUIET_AFTER_FAILURE_SECONDS = 60, DEEPEST_CALL = 8 };
enum { LISTENER = 3, BACKLOG = 1024, LARGEST_REQUEST = 8 << 20 };

struct request_head {
    uint32_t magic, body_size, flags, umask, session, argument_count;
};
struct reply_head {
    uint32_t magic, kind, exit_code, stdout_size, stderr_size;
};

extern char **environ;

static char directory[PATH_MAX]; /* of the socket */
static int is_unsafe;            /* the directory: nothing is written there */
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void warn(const char *format, ...)
{
    va_list values;
    char line[2 * PATH_MAX];
    int size = snprintf(line, sizeof line, "reapi-cc: warning: ");
    va_start(values, format);
    vsnprintf(line + size, sizeof line - size - 1, format, values);
    va_end(values);
    strcat(line, "\n");
    if (write(2, line, strlen(line)) < 0)
        return; /* nobody reads it */
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return 0;
        bytes += written;
        size -= written;
    }
    return 1;
}

/* --- The compiler ----------------------------------------------------------------------------- */

static int is_file_of(const struct stat *found, const char *path)
{
    struct stat own;
    return path && !stat(path, &own) && own.st_dev == found->st_dev && own.st_ino == found->st_ino;
}

static int is_compiler(const char *path)
{
    struct stat found;
    return !stat(path, &found) && S_ISREG(found.st_mode) && !access(path, X_OK)
        && !is_file_of(&found, "/proc/self/exe") && !is_file_of(&found, getenv("REAPI_CC_SELF"));
}

/* The path of the compiler: of those with its name on PATH the first that is not this program. */
static const char *find_compiler(const char *name)
{
    static char path[PATH_MAX];
    const char *slash = strrchr(name, '/');
    if (slash && is_compiler(name))
        return name;
    if (slash)
        name = slash + 1;
    const char *entry = getenv("PATH");
    if (!entry)
        entry = "/usr/local/bin:/usr/bin:/bin";
    for (;;) {
        int size = (int)strcspn(entry, ":");
        const char *separator = size ? "/" : "./";
        if (snprintf(path, sizeof path, "%.*s%s%s", size, entry, separator, name) < PATH_MAX
            && is_compiler(path))
            return path;
        if (!entry[size])
            return NULL;
        entry += size + 1;
    }
}

static int depth_of_call(void)
{
    const char *depth = getenv("REAPI_CC_DEPTH");
    return depth ? atoi(depth) : 0;
}

/* Becomes the compiler. What that calls by way of this program runs at once: its slot is taken. */
static void run_here(const char *compiler, char **arguments)
{
    char depth[16];
    snprintf(depth, sizeof depth, "%d", depth_of_call() + 1);
    setenv("REAPI_CC_DEPTH", depth, 1);
    execv(compiler, arguments);
    fprintf(stderr, "reapi-cc: cannot run %s: %s\n", compiler, strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* --- The daemon ------------------------------------------------------------------------------- */

/* Where the daemon listens; python_stub.py must come to the same. */
static void find_socket(void)
{
    const char *variables[] = {"REAPI_CC_CACHE_DIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"};
    char base[PATH_MAX - 16] = "";
    for (int i = 0; i < 3 && !*base; i++) {
        const char *value = getenv(variables[i]);
        if (value && *value == '/')
            snprintf(base, sizeof base, "%s", value);
    }
    const char *home = getenv("HOME");
    if (!*base && home && *home == '/')
        snprintf(base, sizeof base, "%s/.cache", home);
    if (*base)
        snprintf(directory, sizeof directory, "%s/reapi-cc", base);
    size_t room = sizeof address.sun_path - sizeof "/.socket" - strlen(REAPI_KEY);
    if (*base && strlen(directory) <= room) {
        snprintf(address.sun_path, sizeof address.sun_path, "%s/%s.socket", directory, REAPI_KEY);
        return;
    }
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const char *byte = directory; *byte; byte++)
        hash = (hash ^ (unsigned char)*byte) * 16777619u;
    snprintf(directory, sizeof directory, "/tmp/reapi-cc-%u", (unsigned)geteuid());
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/reapi-cc-%u/%s-%08x.socket",
             (unsigned)geteuid(), REAPI_KEY, (unsigned)hash);
}

/* A connection to a process of this user, left open across exec; or -1. */
static int connect_daemon(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    if (!connect(fd, (struct sockaddr *)&address, sizeof address)) {
#ifdef SO_PEERCRED
        struct ucred peer;
        socklen_t size = sizeof peer;
        if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == geteuid())
            return fd;
#else
        return fd;
#endif
    }
    close(fd);
    return -1;
}

/* A file beside the socket. */
static const char *beside_socket(const char *suffix)
{
    static char path[sizeof address.sun_path + 16];
    snprintf(path, sizeof path, "%s%s", address.sun_path, suffix);
    return path;
}

/* Makes the directory; it must be this user's alone, or others could answer for the daemon. */
static int make_directory(void)
{
    struct stat found;
    char *slash = strrchr(directory, '/');
    *slash = 0;
    if (*directory)
        mkdir(directory, 0700);
    *slash = '/';
    mkdir(directory, 0700);
    return !lstat(directory, &found) && S_ISDIR(found.st_mode) && found.st_uid == geteuid()
        && !(found.st_mode & 077);
}

/* In the child: becomes the daemon, with no open file of the build, and no terminal. */
static void become_daemon(int listener)
{
    int log = open(beside_socket(".log"), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    int nothing = open("/dev/null", O_RDWR);
    setsid();
    if (fork() != 0)
        _exit(0); /* init takes the daemon over */
    int kept = fcntl(listener, F_DUPFD, 10);
    dup2(nothing, 0);
    dup2(nothing, 1);
    dup2(log >= 0 ? log : nothing, 2);
    dup2(kept, LISTENER);
    if (syscall(SYS_close_range, LISTENER + 1, ~0u, 0))
        for (int fd = LISTENER + 1; fd < 4096; fd++)
            close(fd);
    signal(SIGINT, SIG_DFL);
    unsetenv("LD_PRELOAD"); /* fakeroot and its like are for the build */
    unsetenv("MAKEFLAGS");
    if (chdir("/"))
        _exit(127);
    execl(REAPI_PYTHON, REAPI_PYTHON, "-I", REAPI_ENTRY, "daemon", address.sun_path, (char *)NULL);
    fprintf(stderr, "cannot run %s: %s\n", REAPI_PYTHON, strerror(errno));
    _exit(127);
}

/* Listens, leaves that to a new daemon, and is its first caller: the backlog is what is waited in. */
static int listen_and_start(void)
{
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    mode_t umask_before = umask(077);
    unlink(address.sun_path);
    int bound = bind(listener, (struct sockaddr *)&address, sizeof address);
    umask(umask_before);
    if (bound || listen(listener, BACKLOG)) {
        close(listener);
        return -1;
    }
    int fd = connect_daemon();
    pid_t child = fork();
    if (child == 0)
        become_daemon(listener);
    close(listener);
    if (child > 0)
        waitpid(child, NULL, 0);
    return fd;
}

static int failed_lately(void)
{
    struct stat marker;
    return !stat(beside_socket(".failed"), &marker)
        && time(NULL) - marker.st_mtime < QUIET_AFTER_FAILURE_SECONDS;
}

/* Starts the daemon, or finds that another caller has; -1 when that cannot be done now. */
static int start_daemon(void)
{
    if (!make_directory()) {
        is_unsafe = 1;
        return -1;
    }
    int lock = open(beside_socket(".lock"), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0 || flock(lock, LOCK_EX))
        return -1;
    int fd = connect_daemon();
    if (fd < 0 && !failed_lately())
        fd = listen_and_start();
    close(lock);
    return fd;
}

/* Tells of trouble once, and lets the calls of the next minute run without another attempt. */
static void note_failure(void)
{
    if (is_unsafe)
        warn("%s is not a directory of this user alone: compiling here", directory);
    if (is_unsafe || failed_lately())
        return;
    int marker = open(beside_socket(".failed"), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
    if (marker >= 0) {
        futimens(marker, NULL);
        close(marker);
    }
    warn("the daemon does not answer (%s): compiling here", beside_socket(".log"));
}

/* --- The conversation ------------------------------------------------------------------------- */

static int send_request(int fd, const char *compiler, char **arguments)
{
    static char *message;
    static size_t size;
    if (!message) { /* every attempt sends the same */
        char cwd[PATH_MAX];
        uint32_t count = 0;
        mode_t mask = umask(0);
        umask(mask);
        if (!getcwd(cwd, sizeof cwd))
            return 0;
        size = sizeof(struct request_head) + strlen(cwd) + strlen(compiler) + 2;
        for (char **argument = arguments + 1; *argument; argument++, count++)
            size += strlen(*argument) + 1;
        for (char **variable = environ; *variable; variable++)
            size += strlen(*variable) + 1;
        size_t body_size = size - sizeof(struct request_head);
        if (body_size > LARGEST_REQUEST || !(message = malloc(size)))
            return 0;
        struct request_head head = {
            htonl(MAGIC), htonl((uint32_t)body_size), htonl(isatty(2) ? STDERR_IS_TERMINAL : 0),
            htonl(mask), htonl((uint32_t)getsid(0)), htonl(count + 1),
        };
        char *end = mempcpy(message, &head, sizeof head);
        end = stpcpy(end, cwd) + 1;
        end = stpcpy(end, compiler) + 1;
        for (char **argument = arguments + 1; *argument; argument++)
            end = stpcpy(end, *argument) + 1;
        for (char **variable = environ; *variable; variable++)
            end = stpcpy(end, *variable) + 1;
    }
    for (size_t sent = 0; sent < size;) {
        ssize_t more = send(fd, message + sent, size - sent, MSG_NOSIGNAL);
        if (more < 0 && errno == EINTR)
            continue;
        if (more < 0)
            return 0;
        sent += more;
    }
    return 1;
}

enum answer { HERE, GONE, SILENT };

static char received[1 << 16];
static size_t received_begin, received_end;

/* Has at least one byte in `received`; 0 when the daemon has gone. */
static int receive(int fd)
{
    if (received_begin < received_end)
        return 1;
    ssize_t size;
    do
        size = read(fd, received, sizeof received);
    while (size < 0 && errno == EINTR);
    received_begin = 0;
    received_end = size > 0 ? (size_t)size : 0;
    return size > 0;
}

/* Passes `size` bytes to a file, or into memory. */
static int pass_on(int fd, size_t size, int target, char *memory)
{
    while (size > 0) {
        if (!receive(fd))
            return 0;
        size_t part = received_end - received_begin;
        if (part > size)
            part = size;
        if (memory)
            memory = mempcpy(memory, received + received_begin, part);
        else if (!write_all(target, received + received_begin, part))
            _exit(1); /* as a compiler that cannot print */
        received_begin += part;
        size -= part;
    }
    return 1;
}

/* Exits when the daemon has done the work. */
static enum answer await_answer(int fd)
{
    struct reply_head head;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int timeout = FIRST_ANSWER_MILLISECONDS;
    received_begin = received_end = 0;
    do {
        if (received_begin == received_end && poll(&readable, 1, timeout) == 0)
            return SILENT;
        timeout = -1; /* a compile takes as long as it takes */
        if (!pass_on(fd, sizeof head, -1, (char *)&head) || ntohl(head.magic) != MAGIC)
            return GONE;
    } while (ntohl(head.kind) == WORKING);
    if (pass_on(fd, ntohl(head.stdout_size), 1, NULL))
        pass_on(fd, ntohl(head.stderr_size), 2, NULL);
    if (ntohl(head.kind) == FINISHED)
        _exit((int)ntohl(head.exit_code)); /* the outputs are there, even if the daemon is not */
    return ntohl(head.kind) == LOCAL ? HERE : GONE;
}

/* `reapi-cc --stats` and its kin are Python's. */
static void run_command(int count, char **arguments)
{
    char **command = calloc(count + 6, sizeof *command);
    char **end = command;
    *end++ = REAPI_PYTHON;
    *end++ = "-I";
    *end++ = REAPI_ENTRY;
    *end++ = "command";
    *end++ = address.sun_path;
    for (int i = 1; i < count; i++)
        *end++ = arguments[i];
    execv(REAPI_PYTHON, command);
    fprintf(stderr, "reapi-cc: cannot run %s: %s\n", REAPI_PYTHON, strerror(errno));
    _exit(127);
}

int main(int count, char **arguments)
{
    const char *slash = strrchr(arguments[0], '/');
    char **call = arguments; /* under the name of a compiler */
    find_socket();
    if (!strcmp(slash ? slash + 1 : arguments[0], "reapi-cc")) {
        if (count < 2 || arguments[1][0] == '-')
            run_command(count, arguments);
        call = arguments + 1;
    }
    const char *compiler = find_compiler(call[0]);
    if (!compiler) {
        fprintf(stderr, "reapi-cc: %s: no such compiler\n", call[0]);
        return 127;
    }
    if (depth_of_call() >= DEEPEST_CALL) {
        fprintf(stderr, "reapi-cc: %s calls itself\n", compiler);
        return 126;
    }
    const char *local = getenv("REAPI_CC_LOCAL");
    if (depth_of_call() > 0 || (local && *local && strcmp(local, "0")))
        run_here(compiler, call);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        int fd = connect_daemon();
        if (fd < 0)
            fd = start_daemon();
        if (fd < 0)
            break;
        enum answer answer = send_request(fd, compiler, call) ? await_answer(fd) : GONE;
        if (answer == HERE)
            run_here(compiler, call);
        close(fd);
        if (answer == SILENT)
            break;
    }
    note_failure();
    run_here(compiler, call);
}
