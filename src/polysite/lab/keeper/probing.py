"""Asking a service at a site whether it is ready, from inside its network."""

import asyncio
import contextlib
import socket

from polysite.lab.network.devices import inside
from polysite.lab.services.service import HttpProbe

ANSWER_S = 2.0


async def answers(probe: HttpProbe, namespace: int | None) -> bool:
    """Whether a GET is answered with 200 now."""
    place = inside(namespace) if namespace is not None else contextlib.nullcontext()
    with place:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.closing(connection):
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(ANSWER_S):
                await loop.sock_connect(connection, (probe.address, probe.port))
                request = (
                    f"GET {probe.path} HTTP/1.1\r\nHost: {probe.address}:{probe.port}\r\nConnection: close\r\n\r\n"
                )
                await loop.sock_sendall(connection, request.encode())
                answer = await loop.sock_recv(connection, 64)
        except (OSError, TimeoutError):
            return False
    return answer.startswith(b"HTTP/1.1 200")
