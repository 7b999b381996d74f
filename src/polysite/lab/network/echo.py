"""Round trips by ICMP echo: the network of the other site answers, whatever its processes do."""

import asyncio
import os
import socket
import struct
import time

from polysite.lab.network.devices import inside

_REQUEST, _REPLY = 8, 0
_ANSWER_BYTES_MAX = 2_048


class EchoSocket:
    """Asks from one site. `mark` tells its questions from those of others."""

    def __init__(self, namespace: int, mark: int) -> None:
        with inside(namespace):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)
        self._mark = mark

    def close(self) -> None:
        self._socket.close()

    async def round_trip_s(self, address: str, number: int, wait_s: float) -> float | None:
        """How long an echo takes to `address` and back; None: it did not come back within `wait_s`."""
        loop = asyncio.get_running_loop()
        question = echo_request(self._mark, number, os.urandom(8))
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(wait_s):
                await loop.sock_sendto(self._socket, question, (address, 0))
                while True:
                    packet = await loop.sock_recv(self._socket, _ANSWER_BYTES_MAX)
                    if is_reply(packet, question):
                        return time.perf_counter() - began_s
        except TimeoutError:
            return None


def echo_request(mark: int, number: int, payload: bytes) -> bytes:
    """An ICMP echo request; see RFC 792."""
    unsummed = struct.pack("!BBHHH", _REQUEST, 0, 0, mark, number) + payload
    return unsummed[:2] + struct.pack("!H", checksum(unsummed)) + unsummed[4:]


def is_reply(packet: bytes, question: bytes) -> bool:
    """Whether an IPv4 packet is the answer to `question`: the same mark, number and payload come back."""
    answer = packet[(packet[0] & 0x0F) * 4 :]
    return answer[:1] == bytes([_REPLY]) and answer[4:] == question[4:]


def checksum(data: bytes) -> int:
    """The Internet checksum; see RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
