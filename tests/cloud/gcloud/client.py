"""`client.py SOCKET …/gcloud.py WORD...`: have the server run this call, and end as it does.

The call has our descriptors, folder and environment, and ends when we do, however that is.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    path, *argv = sys.argv[1:]
    request = json.dumps({"argv": argv, "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(path)
        here = os.open(".", os.O_RDONLY)
        socket.send_fds(server, [request], [0, 1, 2, here])
        code = server.recv(1)
    sys.exit(code[0] if code else "the process that ran this call of gcloud was killed")


if __name__ == "__main__":
    main()
