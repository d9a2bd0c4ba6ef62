"""Granian: hand-written RSGI, nothing between the server and the model but orjson."""

import orjson
from model import answer, predict, rows_of

HEADERS = [("content-type", "application/json")]


async def app(_scope, protocol):
    body = orjson.loads(await protocol())
    protocol.response_bytes(200, HEADERS, orjson.dumps(answer(predict(rows_of(body)))))
