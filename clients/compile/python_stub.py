"""stub.c in Python, for machines where that cannot be compiled: several times slower, no different.

A copy of this file becomes an executable for `python -IS`, and imports only what is built in; see
stub_build.py. What is not said here is said in stub.c.
"""

import _socket
import posix
import sys

_MAGIC = 0x52434331
_FINISHED, _LOCAL, _WORKING = range(3)
_FIRST_ANSWER_SECONDS = 30
_QUIET_AFTER_FAILURE_SECONDS = 60
_DEEPEST_CALL = 8
_ATTEMPTS = 3
_LARGEST_REQUEST = 8 << 20
_LARGEST_SOCKET_PATH = 107
_BACKLOG = 1024
_LISTENER = 3

_environment = posix.environ


class _UnsafeError(Exception):
    """Others may write to the directory of the socket, or it is not a directory."""


class _Gone(Exception):
    """The daemon does not answer, or not any more."""


def socket_path(key: bytes) -> bytes:
    """Where the daemon of this environment listens."""
    base = b""
    for name in (b"REAPI_CC_CACHE_DIR", b"XDG_RUNTIME_DIR", b"XDG_CACHE_HOME"):
        if not base and _environment.get(name, b"").startswith(b"/"):
            base = _environment[name]
    if not base and _environment.get(b"HOME", b"").startswith(b"/"):
        base = _environment[b"HOME"] + b"/.cache"
    directory = base + b"/reapi-cc" if base else b""
    path = b"%s/%s.socket" % (directory, key)
    if base and len(path) <= _LARGEST_SOCKET_PATH:
        return path
    fingerprint = 2166136261
    for byte in directory:
        fingerprint = (fingerprint ^ byte) * 16777619 & 0xFFFFFFFF
    return b"/tmp/reapi-cc-%d/%s-%08x.socket" % (posix.geteuid(), key, fingerprint)


def arguments_of_this_process() -> list[bytes]:
    """As they came, whatever their encoding."""
    return [
        argument.encode(sys.getfilesystemencoding(), "surrogateescape") for argument in sys.argv
    ]


def main(python: str, entry: str, key: str, arguments: list[bytes]) -> None:
    """Does not return; `arguments` begin with the name that this was called by."""
    path = socket_path(key.encode())
    call = arguments
    if arguments[0].rpartition(b"/")[2] == b"reapi-cc":
        if len(arguments) < 2 or arguments[1].startswith(b"-"):
            words: list[bytes | str] = [python, "-I", entry, "command", path, *arguments[1:]]
            posix.execv(python, words)
        call = arguments[1:]
    compiler = _find_compiler(call[0])
    if compiler is None:
        _say(b"%s: no such compiler" % call[0])
        posix._exit(127)
    told = _environment.get(b"REAPI_CC_DEPTH", b"")
    depth = int(told) if told.isdigit() else 0
    if depth >= _DEEPEST_CALL:
        _say(b"%s calls itself" % compiler)
        posix._exit(126)
    if depth == 0 and _environment.get(b"REAPI_CC_LOCAL", b"") in (b"", b"0"):
        _ask(path, python, entry, compiler, call)
    _run_here(compiler, call, depth)


def _ask(path: bytes, python: str, entry: str, compiler: bytes, call: list[bytes]) -> None:
    """Exits when the daemon has done the work, and returns when it is for this process."""
    request = _request(compiler, call)
    for _ in range(_ATTEMPTS):
        try:
            _converse(_connect(path) or _start(path, python, entry), request)
            return
        except _UnsafeError as error:
            _say(b"warning: %s is not a directory of this user alone: compiling here" % error.args)
            return
        except TimeoutError:
            break
        except (OSError, _Gone):
            continue
    if not _failed_lately(path):
        posix.close(posix.open(path + b".failed", posix.O_WRONLY | posix.O_CREAT, 0o600))
        posix.utime(path + b".failed")
        _say(b"warning: the daemon does not answer (%s.log): compiling here" % path)


def _say(line: bytes) -> None:
    posix.write(2, b"reapi-cc: %s\n" % line)


def _is_compiler(path: bytes) -> bool:
    try:
        found = posix.stat(path)
    except OSError:
        return False
    is_file = found.st_mode & 0o170000 == 0o100000
    return is_file and posix.access(path, posix.X_OK) and not _is_own(found)


def _is_own(found: posix.stat_result) -> bool:
    for path in (sys.argv[0], _environment.get(b"REAPI_CC_SELF", b"")):
        try:
            own = posix.stat(path)
        except (OSError, ValueError):
            continue
        if (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino):
            return True
    return False


def _find_compiler(name: bytes) -> bytes | None:
    if b"/" in name and _is_compiler(name):
        return name
    name = name.rpartition(b"/")[2]
    for entry in _environment.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin").split(b":"):
        path = (entry or b".") + b"/" + name
        if _is_compiler(path):
            return path
    return None


def _run_here(compiler: bytes, call: list[bytes], depth: int) -> None:
    environment = _environment | {b"REAPI_CC_DEPTH": b"%d" % (depth + 1)}
    try:
        posix.execve(compiler, call, environment)
    except OSError as error:
        _say(b"cannot run %s: %s" % (compiler, str(error.strerror).encode()))
        posix._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _request(compiler: bytes, call: list[bytes]) -> bytes:
    umask = posix.umask(0)
    posix.umask(umask)
    words = [posix.getcwdb(), compiler, *call[1:]]
    words += [name + b"=" + value for name, value in _environment.items()]
    body = b"".join([word + b"\0" for word in words])
    flags = 1 if posix.isatty(2) else 0
    head = (_MAGIC, len(body), flags, umask, posix.getsid(0), len(call))
    return b"".join([number.to_bytes(4, "big") for number in head]) + body


def _connect(path: bytes) -> "_socket.socket | None":
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        peer = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    except OSError:
        connection.close()
        return None
    if int.from_bytes(peer[4:8], sys.byteorder) != posix.geteuid():
        connection.close()
        return None
    posix.set_inheritable(connection.fileno(), True)
    return connection


def _start(path: bytes, python: str, entry: str) -> "_socket.socket":
    import fcntl

    directory = path.rpartition(b"/")[0]
    for each in (directory.rpartition(b"/")[0], directory):
        try:
            posix.mkdir(each, 0o700)
        except OSError:
            continue
    found = posix.lstat(directory)
    if found.st_mode & 0o170077 != 0o040000 or found.st_uid != posix.geteuid():
        raise _UnsafeError(directory)
    lock = posix.open(path + b".lock", posix.O_RDWR | posix.O_CREAT | posix.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _connect(path)
        if connection is None and not _failed_lately(path):
            connection = _listen_and_start(path, python, entry)
    finally:
        posix.close(lock)
    if connection is None:
        raise _Gone
    return connection


def _listen_and_start(path: bytes, python: str, entry: str) -> "_socket.socket | None":
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    umask = posix.umask(0o077)
    try:
        if path.rpartition(b"/")[2] in posix.listdir(path.rpartition(b"/")[0]):
            posix.unlink(path)
        listener.bind(path)
    finally:
        posix.umask(umask)
    listener.listen(_BACKLOG)
    connection = _connect(path)
    child = posix.fork()
    if child == 0:
        try:
            _become_daemon(listener.fileno(), path, python, entry)
        finally:
            posix._exit(127)
    listener.close()
    posix.waitpid(child, 0)
    return connection


def _become_daemon(listener: int, path: bytes, python: str, entry: str) -> None:
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW
    log = posix.open(path + b".log", flags, 0o600)
    nothing = posix.open("/dev/null", posix.O_RDWR)
    posix.setsid()
    if posix.fork() != 0:
        posix._exit(0)
    for source, target in ((nothing, 0), (nothing, 1), (log, 2), (listener, _LISTENER)):
        if source == target:
            posix.set_inheritable(target, True)
        else:
            posix.dup2(source, target)
    posix.closerange(_LISTENER + 1, 4096)
    dropped = (b"LD_PRELOAD", b"MAKEFLAGS")
    environment = {name: value for name, value in _environment.items() if name not in dropped}
    posix.chdir("/")
    words: list[bytes | str] = [python, "-I", entry, "daemon", path]
    posix.execve(python, words, environment)


def _failed_lately(path: bytes) -> bool:
    import time

    try:
        return time.time() - posix.stat(path + b".failed").st_mtime < _QUIET_AFTER_FAILURE_SECONDS
    except OSError:
        return False


def _converse(connection: "_socket.socket", request: bytes) -> None:
    if len(request) > _LARGEST_REQUEST:
        raise _Gone
    connection.settimeout(_FIRST_ANSWER_SECONDS)
    connection.sendall(request, _socket.MSG_NOSIGNAL)
    kind = _WORKING
    while kind == _WORKING:
        head = _receive(connection, 20)
        magic, kind, exit_code, stdout_size, stderr_size = [
            int.from_bytes(head[at : at + 4], "big") for at in range(0, 20, 4)
        ]
        if magic != _MAGIC:
            raise _Gone
        connection.settimeout(None)
    for file, size in ((1, stdout_size), (2, stderr_size)):
        _print(file, _receive(connection, size))
    if kind == _FINISHED:
        posix._exit(exit_code)
    connection.detach()  # open for as long as the compiler runs


def _receive(connection: "_socket.socket", size: int) -> bytes:
    parts = []
    while size > 0:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise _Gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _print(file: int, text: bytes) -> None:
    while text:
        text = text[posix.write(file, text) :]
