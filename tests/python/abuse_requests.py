"""What no client would send, by name: the bytes, and the statuses that are right for them.

The graph behind it has a model `echo`, whose `predict` fails on nothing.
"""

import gzip
import json
import struct
import zlib

OK = {200}
BAD = {400}
FINE_OR_BAD = {200, 400}
INFER = "/v2/models/echo/infer"
ONE = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
GOOD = json.dumps({"inputs": [ONE]}).encode()


def raw(*lines, body=b"", target=INFER, method="POST", version="HTTP/1.1", host="Host: x"):
    """A request with these header lines, and no others but Host."""
    head = [f"{method} {target} {version}", *([host] if host else []), *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def post(body, *lines, target=INFER, kind="application/json"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw(f"Content-Type: {kind}", f"Content-Length: {len(body)}", *lines, body=body, target=target)


def get(target, method="GET"):
    return raw(target=target, method=method)


def chunked(body, *lines):
    return raw("Content-Type: application/json", "Transfer-Encoding: chunked", *lines, body=body)


def pieces(body, size=7, extension=b""):
    cut = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in cut) + b"0\r\n\r\n"


def tensor(**change):
    return {"inputs": [{key: value for key, value in (ONE | change).items() if value is not ...}]}


def text(document):
    """JSON that no library would write."""
    return document.encode() if isinstance(document, str) else document


def binary(described, tail, length=None):
    head = json.dumps({"inputs": described if isinstance(described, list) else [described]}).encode()
    length = len(head) if length is None else length
    return post(head + tail, f"Inference-Header-Content-Length: {length}", kind="application/octet-stream")


def raw_tensor(size, **change):
    return {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": size}} | change


LENGTH = f"Content-Length: {len(GOOD)}"
JSON = "Content-Type: application/json"
FRAMING = {
    "length and chunks": (raw(JSON, LENGTH, "Transfer-Encoding: chunked", body=pieces(GOOD)), BAD),
    "chunks and length": (raw(JSON, "Transfer-Encoding: chunked", LENGTH, body=pieces(GOOD)), BAD),
    "length 0 and chunks": (chunked(pieces(GOOD), "Content-Length: 0"), BAD),
    "two lengths": (raw(JSON, LENGTH, "Content-Length: 5", body=GOOD), BAD),
    "one length twice": (raw(JSON, LENGTH, LENGTH, body=GOOD), BAD),
    "one length twice in other letters": (raw(JSON, LENGTH, LENGTH.upper(), body=GOOD), BAD),
    "a list of lengths": (raw(JSON, f"{LENGTH}, {len(GOOD)}", body=GOOD), BAD),
    "a length with a sign": (raw(JSON, f"Content-Length: +{len(GOOD)}", body=GOOD), BAD),
    "a negative length": (raw(JSON, "Content-Length: -1", body=GOOD), BAD),
    "a hexadecimal length": (raw(JSON, "Content-Length: 0x10", body=GOOD), BAD),
    "a length with a fraction": (raw(JSON, "Content-Length: 5.0", body=GOOD), BAD),
    "a length of letters": (raw(JSON, "Content-Length: many", body=GOOD), BAD),
    "an empty length": (raw(JSON, "Content-Length: ", body=GOOD), BAD),
    "a length of 30 digits": (raw(JSON, "Content-Length: " + "9" * 30, body=GOOD), {400, 413}),
    "a length of a terabyte": (raw(JSON, "Content-Length: 1099511627776", body=GOOD), {413}),
    "a length that ends early": (raw(JSON, "Content-Length: 5", body=GOOD[:5]), BAD),
    "chunks twice": (chunked(pieces(GOOD), "Transfer-Encoding: chunked"), {400, 501}),
    "chunks of chunks": (raw(JSON, "Transfer-Encoding: chunked, chunked", body=pieces(GOOD)), {400, 501}),
    "packed chunks": (raw(JSON, "Transfer-Encoding: gzip, chunked", body=pieces(GOOD)), {400, 501}),
    "an unknown coding": (raw(JSON, "Transfer-Encoding: xchunked", body=pieces(GOOD)), {400, 501}),
    "the coding identity": (raw(JSON, "Transfer-Encoding: identity", body=GOOD), {400, 501}),
    "an empty coding": (raw(JSON, "Transfer-Encoding: ", body=pieces(GOOD)), {400, 501}),
    "a space before the colon": (raw(JSON, "Transfer-Encoding : chunked", body=pieces(GOOD)), BAD),
    "a folded header": (raw(JSON, LENGTH, "X-Folded: a\r\n b", body=GOOD), BAD),
    "a folded coding": (raw(JSON, "Transfer-Encoding:\r\n chunked", body=pieces(GOOD)), BAD),
    "lines that end with LF": (raw(JSON, LENGTH, body=GOOD).replace(b"\r\n", b"\n"), BAD),
    "one line that ends with LF": (raw(JSON, LENGTH + "\nX-Hidden: 1", body=GOOD), BAD),
    "a CR within a header": (raw(JSON, LENGTH, "X-Bare: a\rb", body=GOOD), BAD),
    "a NUL in a header": (raw(JSON, LENGTH, "X-Nul: a\0b", body=GOOD), BAD),
    "a NUL in a header's name": (raw(JSON, LENGTH, "X\0Nul: a", body=GOOD), BAD),
    "a header without a colon": (raw(JSON, LENGTH, "X-Nothing", body=GOOD), BAD),
    "a header without a name": (raw(JSON, LENGTH, ": nothing", body=GOOD), BAD),
    "a space in a header's name": (raw(JSON, LENGTH, "X Y: z", body=GOOD), BAD),
    "chunks in HTTP/1.0": (raw(JSON, "Transfer-Encoding: chunked", body=pieces(GOOD), version="HTTP/1.0"), BAD),
    "a chunk of letters": (chunked(b"zz\r\nabc\r\n0\r\n\r\n"), BAD),
    "a chunk of negative size": (chunked(b"-5\r\nabcde\r\n0\r\n\r\n"), BAD),
    "a chunk with 0x": (chunked(b"0x5\r\nabcde\r\n0\r\n\r\n"), BAD),
    "a chunk without a size": (chunked(b"\r\nabcde\r\n0\r\n\r\n"), BAD),
    "a chunk too large for 64 bits": (chunked(b"10000000000000000\r\nabc"), {400, 413}),
    "a chunk of all bits": (chunked(b"FFFFFFFFFFFFFFFF\r\nabc"), {400, 413}),
    "a chunk of a gigabyte": (chunked(b"40000000\r\nabc"), {413}),
    "a chunk without its end": (chunked(b"5\r\nabcdefg\r\n0\r\n\r\n"), BAD),
    "a chunk that ends with LF": (chunked(b"5\nabcde\n0\n\n"), BAD),
    "a chunk with spaces": (chunked(b"5 5\r\nabcde\r\n0\r\n\r\n"), BAD),
    "a chunk with a long extension": (chunked(pieces(GOOD, 7, b";x=" + b"y" * 20000)), BAD),
    "an extension with LF": (chunked(pieces(GOOD, 7, b";x=\ny")), BAD),
    "an extension": (chunked(pieces(GOOD, 7, b";x=y")), OK),
    "chunks with a trailer": (chunked(pieces(GOOD)[:-2] + b"Content-Length: 3\r\n\r\n"), FINE_OR_BAD),
    "a trailer without a colon": (chunked(pieces(GOOD)[:-2] + b"nothing\r\n\r\n"), BAD),
    "a trailer too long": (chunked(pieces(GOOD)[:-2] + b"X: " + b"y" * 40000 + b"\r\n\r\n"), {400, 431}),
    "too many chunks": (chunked(b"1\r\na\r\n" * 70000), {413}),
}
LINES = {
    "no request": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n", BAD),
    "a word": (b"HELLO\r\n\r\n", BAD),
    "a line without a version": (b"GET /v2\r\n\r\n", BAD),
    "no target": (b"GET HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "two spaces": (b"GET  /v2 HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "tabs": (b"GET\t/v2\tHTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "a space ahead": (b" GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n", BAD),
    "a space behind": (b"GET /v2 HTTP/1.1 \r\nHost: x\r\n\r\n", BAD),
    "HTTP/1.2": (raw(method="GET", target="/v2", version="HTTP/1.2"), {400, 505}),
    "HTTP/3.0": (raw(method="GET", target="/v2", version="HTTP/3.0"), {400, 505}),
    "HTTP/11": (raw(method="GET", target="/v2", version="HTTP/11"), {400, 505}),
    "http/1.1": (raw(method="GET", target="/v2", version="http/1.1"), {400, 505}),
    "a wrong letter in the method": (raw(method="G@T", target="/v2"), BAD),
    "a method of 10000 letters": (raw(method="G" * 10000, target="/v2"), {400, 405, 414, 431}),
    "a target of 9000 letters": (get("/" + "a" * 9000), {414}),
    "a target without a slash": (get("v2"), BAD),
    "a star": (get("*"), BAD),
    "a host and port": (raw(method="CONNECT", target="example.org:80"), {400, 405}),
    "a fragment": (get("/v2#x"), {400, 404}),
    "a letter that is not ASCII": (get("/v2/models/\xe9cho"), BAD),
    "a NUL in the target": (get("/v2/models/e\0cho"), BAD),
    "no host": (raw(method="GET", target="/v2", host=""), BAD),
    "two hosts": (raw("Host: y", method="GET", target="/v2"), BAD),
    "65 headers": (raw(*(f"X-{number}: y" for number in range(65)), method="GET", target="/v2"), {431}),
    "a header of 20000 letters": (raw("X: " + "y" * 20000, method="GET", target="/v2"), {431}),
    "headers without end": (b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200_000, {431}),
    "something else expected": (raw("Expect: the-worst", LENGTH, body=GOOD), {417}),
    "a body expected": (raw(JSON, "Expect: 100-continue", LENGTH, body=GOOD), OK),
    "HTTP/1.0": (raw(JSON, LENGTH, body=GOOD, version="HTTP/1.0", host=""), OK),
    "a head": (get("/v2", "HEAD"), OK),
    "a head of nothing": (get("/v2/models/nobody", "HEAD"), {404}),
    "another protocol": (raw("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", method="GET", target="/v2"), OK),
    "empty lines ahead": (b"\r\n\r\n" + get("/v2"), OK),
    "the wrong verb": (get(INFER, "DELETE"), {405}),
    "the wrong verb for metadata": (get("/v2/models/echo", "DELETE"), {405}),
    "the wrong verb for the server": (get("/v2", "PUT"), {405}),
    "the wrong verb for health": (get("/v2/health/live", "PATCH"), {405}),
    "a trace": (get("/v2", "TRACE"), {405}),
}
NAMES = (
    "..", "%2e%2e", "%2E%2E%2Fetc", "..%2f..%2f..%2fetc%2fpasswd", "....//", "..%5c..%5cetc", "..%c0%af", "%c0%ae",
    "%00", "echo%00", "echo%2f..", "echo%2f", "echo%20", "echo%0d%0aX:%20y", "%ff%fe", "%ZZ", "%", "%2", "%u0041",
    "%252e%252e", "echo;x=1", "echo%3Fx=1", "echo%23", "~", ".", "%2e", "nobody", "ECHO", "echo:1", "echo%3A1", "*",
    "echo/versions/..", "echo/versions/%2e%2e", "echo/versions/-1", "echo/versions/99999999999999999999",
    "echo/versions/%00", "echo/versions/1%2f2", "a" * 4000, "%F0%9F%98%80", "__class__", "self", "$(id)", "'--",
)  # fmt: skip
PATHS = {
    **{f"the model {name[:40]}": (get(f"/v2/models/{name}"), {400, 404}) for name in NAMES},
    **{f"infer of {name[:40]}": (post(GOOD, target=f"/v2/models/{name}/infer"), {400, 404}) for name in NAMES},
    "no model": (get("/v2/models/"), {200, 404}),
    "no model to infer": (post(GOOD, target="/v2/models//infer"), {400, 404}),
    "two slashes": (post(GOOD, target="/v2//models/echo/infer"), {400, 404}),
    "another V": (post(GOOD, target="/V2/models/echo/infer"), {400, 404}),
    "another operation": (post(GOOD, target="/v2/models/echo/predikt"), {400, 404}),
    "too far": (post(GOOD, target="/v2/models/echo/infer/more"), {400, 404}),
    "a private operation": (post(GOOD, target="/v2/models/echo/__init__"), {400, 404}),
    "another path": (post(GOOD, target="/any/where"), {400, 404}),
    "a file": (get("/etc/passwd"), {400, 404}),
    "a way up": (get("/../../../../etc/passwd"), {400, 404}),
    "no version": (get("/v2/models/echo/versions/"), {400, 404}),
}
DEPTH = 100_000
DOCUMENTS = {
    "nothing": b"", "a brace": b"{", "a list": b"[]", "null": b"null", "a number": b"1", "a text": b'"x"',
    "an object": b"{}", "a comma too much": GOOD[:-1] + b",}", "single quotes": GOOD.replace(b'"', b"'"),
    "a comment": b"/* */" + GOOD, "a letter behind": GOOD + b"x", "two documents": GOOD + GOOD,
    "a brace behind": GOOD + b"}", "a NUL behind": GOOD + b"\0", "half of it": GOOD[: len(GOOD) // 2],
    "bytes that are no UTF-8": GOOD.replace(b'"x"', b'"\xff\xfe"'),
    "UTF-8 that is too long": GOOD.replace(b'"x"', b'"\xc0\xaf"'),
    "a surrogate in UTF-8": GOOD.replace(b'"x"', b'"\xed\xa0\x80"'),
    "half a surrogate": GOOD.replace(b'"x"', b'"\\ud800"'),
    "the other half": GOOD.replace(b'"x"', b'"\\udc00"'),
    "an escape that is none": GOOD.replace(b'"x"', b'"\\x41"'),
    "a line in a text": GOOD.replace(b'"x"', b'"a\nb"'),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "NaN": GOOD.replace(b"[1]}", b"[NaN]}"), "Infinity": GOOD.replace(b"[1]}", b"[Infinity]}"),
    "-Infinity": GOOD.replace(b"[1]}", b"[-Infinity]}"), "an infinite number": GOOD.replace(b"[1]}", b"[1e999]}"),
    "a number with a plus": GOOD.replace(b"[1]}", b"[+1]}"), "a number with a zero": GOOD.replace(b"[1]}", b"[01]}"),
    "a hexadecimal number": GOOD.replace(b"[1]}", b"[0x1]}"), "half a number": GOOD.replace(b"[1]}", b"[1.]}"),
    "a million digits": GOOD.replace(b"[1]}", b"[" + b"9" * 1_000_000 + b"]}"),
    "a million digits elsewhere": GOOD[:-1] + b', "n": ' + b"9" * 1_000_000 + b"}",
    "a shape of a million digits": GOOD.replace(b'"shape": [1]', b'"shape": [' + b"1" * 1_000_000 + b"]"),
    "deep lists": b"[" * DEPTH, "deep lists that end": b"[" * DEPTH + b"]" * DEPTH,
    "deep objects": b'{"a":' * DEPTH, "deep data": GOOD.replace(b"[1]}", b"[" * DEPTH + b"1" + b"]" * DEPTH + b"}"),
    "deep parameters": GOOD[:-1] + b', "parameters": {"a": ' + b"[" * DEPTH + b"]" * DEPTH + b"}}",
    "deep elsewhere": GOOD[:-1] + b', "more": ' + b"[" * DEPTH + b"]" * DEPTH + b"}",
    "inputs twice": GOOD[:-1] + b', "inputs": []}', "a name twice": GOOD.replace(b'"name"', b'"name": "y", "name"'),
    "data twice": GOOD.replace(b'"data"', b'"data": [2], "data"'),
    "one key of 100 twice": GOOD[:-1] + b"".join(b', "%d": 1' % (number % 99) for number in range(100)) + b"}",
    "two inputs of a name": {"inputs": [ONE, ONE]},
    "inputs of null": {"inputs": None}, "inputs of a text": {"inputs": "x"}, "inputs of a number": {"inputs": 5},
    "an id of a number": {"id": 5, "inputs": [ONE]}, "an id of a list": {"id": [], "inputs": [ONE]},
    "outputs of an object": {"inputs": [ONE], "outputs": {}}, "outputs of numbers": {"inputs": [ONE], "outputs": [1]},
    "an output without a name": {"inputs": [ONE], "outputs": [{}]},
    "an output whose name is a number": {"inputs": [ONE], "outputs": [{"name": 5}]},
    "an output that is not there": {"inputs": [ONE], "outputs": [{"name": "nope"}]},
    "2000 outputs": {"inputs": [ONE], "outputs": [{"name": "OUT"}] * 2000},
    "classes below 0": {"inputs": [ONE], "outputs": [{"name": "OUT", "parameters": {"classification": -1}}]},
    "classes of text": {"inputs": [ONE], "outputs": [{"name": "OUT", "parameters": {"classification": "2"}}]},
    **{
        f"parameters {parameters!r:.40}": {"inputs": [ONE], "parameters": parameters}
        for parameters in (
            [], "x", 5, {"timeout": "soon"}, {"timeout": -1}, {"timeout": 1.5}, {"timeout": 2**70},
            {"priority": -1}, {"priority": "high"}, {"binary_data_output": 1}, {"sequence_id": []},
            {"sequence_start": "yes"}, {"sequence_end": 1},
        )
    },
    **{
        f"a shape of {shape!r:.40}": tensor(shape=shape)
        for shape in (
            [-1], [1.5], ["1"], [None], [True], [[1]], None, 1, "1", {}, [2], [0], [1, 2],
            [2**63 - 1, 2], [2**32, 2**32], [2**31, 2**31, 4], [2**64], [10**30], [1] * 33, [0, 2**62, 2**62], ...,
        )
    },
    **{
        f"a datatype of {datatype!r}": tensor(datatype=datatype)
        for datatype in ("FP99", "", None, 5, "fp32", "FP32\0", "FP16", "BF16", "TYPE_FP32", "float32", [], ...)
    },
    **{f"a name of {name!r}": tensor(name=name) for name in (5, None, [], ...)},
    **{
        f"{datatype} of {data!r:.40}": tensor(datatype=datatype, data=data)
        for datatype, data in (
            ("FP32", ["1"]), ("FP32", [True]), ("FP32", [[1, 2]]), ("FP32", [[1], [2]]), ("FP32", [[]]),
            ("FP32", {}), ("FP32", "1"), ("FP32", 1), ("FP32", None), ("FP32", [1e39]), ("FP32", []), ("FP32", ...),
            ("INT8", [128]), ("INT8", [1.5]), ("INT8", [None]), ("UINT8", [256]), ("UINT8", [-1]), ("INT64", [2**63]),
            ("UINT64", [-1]), ("UINT64", [2**64]), ("BOOL", [1]), ("BOOL", ["true"]), ("BYTES", [1]), ("BYTES", [None]),
        )
    },
}  # fmt: skip
# What looks like plain rows, or like a request with something more, is no tensors: that is the model's affair.
FREE = {"a shape of Ellipsis", "a datatype of Ellipsis", "a name of Ellipsis"}
BINARY = {
    "bytes too few": (binary(raw_tensor(4), b"\0\0"), BAD),
    "bytes too many": (binary(raw_tensor(4), bytes(8)), BAD),
    "a size too small": (binary(raw_tensor(2), bytes(2)), BAD),
    "a size too large": (binary(raw_tensor(8), bytes(8)), BAD),
    "a size below 0": (binary(raw_tensor(-4), bytes(4)), BAD),
    "a size of text": (binary(raw_tensor("4"), bytes(4)), BAD),
    "a size of 64 bits": (binary(raw_tensor(2**64 - 1), bytes(4)), BAD),
    "a size beyond": (binary(raw_tensor(2**70), bytes(4)), BAD),
    "no size": (binary({"name": "x", "shape": [1], "datatype": "FP32"}, bytes(4)), BAD),
    "size and data": (binary(raw_tensor(4, data=[1]), bytes(4)), BAD),
    "a shape that overflows": (binary(raw_tensor(4, shape=[2**62, 4]), bytes(4)), BAD),
    "a negative shape": (binary(raw_tensor(4, shape=[-1]), bytes(4)), BAD),
    "an unknown type": (binary(raw_tensor(4, datatype="FP8"), bytes(4)), BAD),
    "a text longer than all": (binary(raw_tensor(8, datatype="BYTES"), struct.pack("<I", 2**32 - 1) + b"abcd"), BAD),
    "half a length": (binary(raw_tensor(2, datatype="BYTES"), b"\1\0"), BAD),
    "a text too few": (binary(raw_tensor(5, datatype="BYTES", shape=[2]), struct.pack("<I", 1) + b"a"), BAD),
    "a text too many": (binary(raw_tensor(10, datatype="BYTES"), (struct.pack("<I", 1) + b"a") * 2), BAD),
    "a truth of 2": (binary(raw_tensor(1, datatype="BOOL"), b"\2"), FINE_OR_BAD),
    "the second of two short": (binary([raw_tensor(4), raw_tensor(4, name="y")], bytes(6)), BAD),
    "a size without the header": (post({"inputs": [raw_tensor(4)]}), BAD),
    "shared memory": (post(tensor(data=..., parameters={"shared_memory_region": "r"})), BAD),
    "no JSON ahead": (binary([], b"\xff" * 8), BAD),
    **{
        f"a length of the JSON of {length!r}": (binary(raw_tensor(4), bytes(4), length), BAD)
        for length in ("-1", "", "x", "1e3", "0x10", "5", "99999", "18446744073709551616", "9" * 40)
    },
    "bytes that fill no row": (
        post(b"abc", "Inference-Header-Content-Length: 0", kind="application/octet-stream"),
        {200, 400},
    ),
}
PACKED = gzip.compress(GOOD, mtime=0)
CODINGS = {
    "half of gzip": (post(PACKED[: len(PACKED) // 2], "Content-Encoding: gzip"), BAD),
    "gzip and more": (post(PACKED + b"more", "Content-Encoding: gzip"), BAD),
    "gzip without its sum": (post(PACKED[:-8], "Content-Encoding: gzip"), BAD),
    "gzip with a wrong sum": (post(PACKED[:-8] + b"\0" * 8, "Content-Encoding: gzip"), BAD),
    "no gzip": (post(GOOD, "Content-Encoding: gzip"), BAD),
    "an empty gzip": (post(b"", "Content-Encoding: gzip"), BAD),
    "no deflate": (post(GOOD, "Content-Encoding: deflate"), BAD),
    "half of deflate": (post(zlib.compress(GOOD)[:-6], "Content-Encoding: deflate"), BAD),
    "brotli": (post(GOOD, "Content-Encoding: br"), {415}),
    "zstd": (post(GOOD, "Content-Encoding: zstd"), {415}),
    "gzip of gzip": (post(gzip.compress(PACKED), "Content-Encoding: gzip, gzip"), {415}),
    "a bomb": (post(gzip.compress(bytes(200 << 20), 9), "Content-Encoding: gzip"), {413}),
    "a bomb of deflate": (post(zlib.compress(bytes(200 << 20), 9), "Content-Encoding: deflate"), {413}),
    "a small bomb": (post(gzip.compress(b" " * (15 << 20), 9), "Content-Encoding: gzip"), {400, 413}),
    "a wrong deadline": (post(GOOD, "X-Penstock-Timeout-Ms: soon"), BAD),
    "a deadline below 0": (post(GOOD, "X-Penstock-Timeout-Ms: -1"), BAD),
    "a deadline without end": (post(GOOD, "X-Penstock-Timeout-Ms: " + "9" * 40), BAD),
    "a type that is none": (post(GOOD, kind="\x7f/;;;"), {200, 400, 415}),
}

# What the server waits for more of: it is told that there is none.
INCOMPLETE = {"a length that ends early", "a line without a version"}
REQUESTS = {
    **FRAMING,
    **LINES,
    **PATHS,
    **{name: (post(body), FINE_OR_BAD if name in FREE else BAD) for name, body in DOCUMENTS.items()},
    **BINARY,
    **CODINGS,
}
