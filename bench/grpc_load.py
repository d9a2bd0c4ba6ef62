"""The 1x4 request over gRPC: its bytes, one call that is checked, and h2load to send many (Debian: nghttp2-client)."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from pathlib import Path
from statistics import median

METHOD = "inference.GRPCInferenceService/ModelInfer"
HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
PATIENCE = 60  # seconds that a client may take, beyond what it was told


def field(number: int, content: bytes | str) -> bytes:
    """Encode a protobuf field that has a length."""
    content = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Encode a whole number in groups of seven bits."""
    low = bytearray()
    while number > 127:
        low.append(number & 127 | 128)
        number >>= 7
    return bytes(low) + bytes([number])


def infer_message(shape: list[int], data: bytes) -> bytes:
    """Return a ModelInferRequest to model m with one FP32 tensor as raw bytes, in gRPC's frame."""
    tensor = field(1, "x") + field(2, "FP32") + field(3, b"".join(map(varint, shape)))
    message = field(1, "m") + field(5, tensor) + field(7, data)
    return b"\0" + struct.pack(">I", len(message)) + message


SMALL_MESSAGE = infer_message([1, 4], struct.pack("<4f", 1, 2, 3, 4))
SMALL_ANSWER = struct.pack("<f", 10)


class GrpcLoad:
    """Sends one message again and again with h2load, which needs less of a processor than any server here."""

    def __init__(self, folder: Path, message: bytes = SMALL_MESSAGE) -> None:
        self._body = folder / f"message-{len(message)}"
        self._body.write_bytes(message)

    def check(self, port: int, answer: bytes = SMALL_ANSWER) -> None:
        """Make one call; its status has to be OK and these bytes have to be in its answer."""
        url = f"http://127.0.0.1:{port}/{METHOD}"
        command = ["nghttp", "-v", "-t", "10", *HEADERS, "-H", ":method: POST", "-d", str(self._body), url]
        said = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).stdout
        if b"grpc-status: 0" not in said or answer not in said:
            raise RuntimeError(f"the call was not answered: {said.decode(errors='replace')}")

    def __call__(self, port: int, connections: int, streams: int, seconds: float) -> dict[str, float]:
        """Send calls for so many seconds, each connection with so many streams at once."""
        with tempfile.NamedTemporaryFile(dir=self._body.parent) as log:
            command = ["h2load", "-c", str(connections), "-m", str(streams), "-D", f"{seconds * 1000:.0f}ms"]
            command += [
                "-w",
                "24",
                "-W",
                "24",
                "--log-file",
                log.name,
                *HEADERS,
                "-d",
                str(self._body),
                f"http://127.0.0.1:{port}/{METHOD}",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + PATIENCE)
            times = [int(line.split()[2]) for line in Path(log.name).read_text().splitlines()]
        found = re.search(r"(\d+) succeeded, (\d+) failed", done.stdout)
        if not found or int(found[1]) == 0 or int(found[2]) > 0:
            raise RuntimeError(f"h2load failed: {done.stdout}{done.stderr}")
        return {"answers": int(found[1]), "rate": int(found[1]) / seconds, "p50_us": median(times)}
