"""A stand-in for `gcloud compute start-iap-tunnel`, whose other end would be Google's.

It takes the words of that command, and leads from the port here to the one of the VM. All other
commands are the real gcloud's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import urllib.request
from pathlib import Path

_SCRIPT = """#!/bin/sh
case "$*" in
*start-iap-tunnel*) exec {python} -I {tunnel} "$@" ;;
esac
exec {gcloud} "$@"
"""
_CHUNK_BYTES = 1 << 16


def write_gcloud(folder: Path) -> None:
    """Make a `gcloud` in a folder that has this tunnel."""
    folder.mkdir()
    script = folder / "gcloud"
    real = shutil.which("gcloud")
    script.write_text(_SCRIPT.format(python=sys.executable, tunnel=__file__, gcloud=real))
    script.chmod(0o755)


async def serve(local_port: int, address: str, port: int) -> None:
    """Lead each connection to the VM, until this process is ended."""

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(address, port)
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        writer.close()

    server = await asyncio.start_server(lead, "127.0.0.1", local_port)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


def main() -> None:
    words = sys.argv[1:]
    at = words.index("start-iap-tunnel")
    vm, port = words[at + 1], int(words[at + 2])
    options = dict(word[2:].split("=", 1) for word in words if word[:2] == "--" and "=" in word)
    base = os.environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"]
    path = f"projects/{options['project']}/zones/{options['zone']}/instances/{vm}"
    with urllib.request.urlopen(f"{base}compute/v1/{path}") as answer:
        address = json.load(answer)["networkInterfaces"][0]["networkIP"]
    asyncio.run(serve(int(options["local-host-port"].rpartition(":")[2]), address, port))


if __name__ == "__main__":
    main()
