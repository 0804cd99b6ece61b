"""`client.py SOCKET …/gcloud.py WORD...`: have the server run this call, and end as it does.

The call has our descriptors, folder and environment, and ends when we do, however that is. Tests
start this hundreds of times, so it imports only what the interpreter has built in: `json`, `os`,
`signal` and `socket` would take four fifths of its CPU time.
"""

import _signal  # type: ignore[import-not-found]
import _socket
import posix
import sys


def main() -> None:
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    path, *argv = sys.argv[1:]
    here = posix.open(".", posix.O_RDONLY)
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2, here))
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    server.connect(path)
    server.sendmsg([request(argv)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
    code = server.recv(1)
    sys.exit(code[0] if code else "the process that ran this call of gcloud was killed")


def request(argv: list[str]) -> bytes:
    """Return the number of words, the words, and the environment, with NUL between them."""
    words = [word.encode(errors="surrogateescape") for word in argv]
    variables = [name + b"=" + value for name, value in posix.environ.items()]
    return b"\0".join([b"%d" % len(words), *words, *variables])


if __name__ == "__main__":
    main()
