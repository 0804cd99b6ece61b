"""HTTP/1.1 on asyncio, and the batch requests of Google's APIs."""

from __future__ import annotations

import asyncio
import contextlib
import email.message
import email.parser
import email.policy
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from tests.cloud.compute.errors import CloudError
from tests.gcsserver.errors import ApiError
from tests.gcsserver.wire import Request, Response, error_response

Handler = Callable[[Request], Awaitable[Response]]

BATCH_PARTS = 1000
_HEAD_BYTES = 1 << 17
_logger = logging.getLogger(__name__)


class HttpServer:
    """Connections that are kept, each with a task of its own, on one listening socket."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    async def start(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=_HEAD_BYTES)

    async def stop(self) -> None:
        """Close the port and every connection, answered or not, and wait for their tasks."""
        assert self._server is not None
        self._server.close()
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        try:
            while (request := await read_request(reader, self._base_url(writer))) is not None:
                response = await answer(self._handle, request)
                writer.write(encode(response))
                await writer.drain()
                if request.headers.get("connection", "").lower() == "close":
                    break
        except asyncio.CancelledError:
            # Only `stop` cancels. To asyncio's streams a cancelled task would be an error.
            pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up
        finally:
            del self._open[writer]
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @staticmethod
    def _base_url(writer: asyncio.StreamWriter) -> str:
        host, port = writer.get_extra_info("sockname")[:2]
        return f"http://{host}:{port}"


async def read_request(reader: asyncio.StreamReader, base_url: str) -> Request | None:
    """Return the next request of a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    start, _, rest = head.decode("latin-1").partition("\r\n")
    method, target, _ = start.split(" ", 2)
    headers = {}
    for line in rest.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length") or 0))
    return Request.parse(method, target, headers, body, base_url)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    blocks = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        blocks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return b"".join(blocks)


async def answer(handle: Handler, request: Request) -> Response:
    """Return what a handler answers, a refusal too; an error of ours is 500 and logged."""
    try:
        return await handle(request)
    except ApiError as error:
        return error_response(error)
    except Exception:
        _logger.exception("%s %s", request.method, request.path)
        return error_response(CloudError(500, "backendError", "Internal error."))


def encode(response: Response) -> bytes:
    """Return a response as it goes over the wire."""
    phrase = HTTPStatus(response.status).phrase
    lines = [f"HTTP/1.1 {response.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.status != 204:
        lines.append(f"Content-Length: {len(response.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.body


_batches = itertools.count(1)


async def batch(handle: Handler, request: Request) -> Response:
    """Answer every part of a `multipart/mixed` body, in order, whatever becomes of the others."""
    content_type = request.headers.get("content-type", "")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + request.body
    )
    if message.get_content_type() != "multipart/mixed" or not message.is_multipart():
        raise CloudError(400, "badRequest", "Batch requests are multipart/mixed.")
    parts = list(message.iter_parts())
    if not 0 < len(parts) <= BATCH_PARTS:
        raise CloudError(400, "badRequest", f"The batch has {len(parts)} parts; 1 to 1000 can be.")
    answers = await asyncio.gather(*(answer(handle, _request_of(part, request)) for part in parts))
    boundary = f"batch_{next(_batches):016d}"
    blocks = []
    for part, response in zip(parts, answers, strict=True):
        content_id = str(part.get("Content-ID", "")).strip()
        head = f"--{boundary}\r\nContent-Type: application/http\r\n"
        if content_id:
            head += f"Content-ID: <response-{content_id.removeprefix('<')}\r\n"
        blocks.append(head.encode() + b"\r\n" + encode(response) + b"\r\n")
    body = b"".join(blocks) + f"--{boundary}--\r\n".encode()
    return Response(200, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})


def _request_of(part: email.message.Message, outer: Request) -> Request:
    """Return the request inside a part; the lines of one may end in CRLF or LF."""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        raise CloudError(400, "badRequest", "A part of the batch is not a request.")
    newline = b"\r\n" if b"\r\n" in content.split(b"\n\n")[0] else b"\n"
    head, _, body = content.partition(newline * 2)
    first, *lines = head.decode("latin-1").split(newline.decode())
    words = first.split(" ")
    if len(words) < 2:
        raise CloudError(400, "badRequest", "A part of the batch is not a request.")
    headers = {k: v for k, v in outer.headers.items() if k == "authorization"}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length")
    body = body[: int(length)] if length else body.strip()
    return Request.parse(words[0], words[1], headers, body, outer.base_url)
