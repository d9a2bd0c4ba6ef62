"""One worker of the stand-in processor: a process that runs a handler with nuclio-sdk's own classes.

It is started by `nuclio_processor.Worker`, keeps to what Nuclio 1.14's wrapper does with a handler, and talks over its
standard input and output instead of sockets: pickled messages with their length ahead.
"""

import asyncio
import contextlib
import importlib
import json
import logging
import os
import pickle
import signal
import struct
import sys
import traceback

import nuclio_sdk
import nuclio_sdk.event
import nuclio_sdk.json_encoder
import nuclio_sdk.logger


class Channel:
    """Messages to the processor."""

    def __init__(self, file):
        self._file = file

    def send(self, kind, content):
        data = pickle.dumps((kind, content))
        self._file.write(struct.pack(">I", len(data)) + data)
        self._file.flush()


class LogHandler(logging.Handler):
    """Sends log records as the wrapper formats them."""

    def __init__(self, channel):
        super().__init__()
        self._channel = channel
        self._formatter = nuclio_sdk.logger.JSONFormatter()

    def emit(self, record):
        self._channel.send("log", json.loads(self._formatter.format(record)))


class Wrapper:
    def __init__(self, options, channel, reader):
        self.options = options
        self.channel = channel
        self.reader = reader
        self.encoder = nuclio_sdk.json_encoder.Encoder()
        self.discards = False
        self.wanted = None  # "termination" or "drain"
        self.waiting = None
        self.busy = 0
        self.tasks = set()

    async def prepare(self):
        logger = nuclio_sdk.Logger(logging.DEBUG)
        logger._logger.propagate = False
        logger._logger.addHandler(LogHandler(self.channel))
        logger.bind(worker_id=self.options["worker_id"])
        module, _, name = self.options["handler"].partition(":")
        found = __import__(module)
        for part in module.split(".")[1:]:
            found = getattr(found, part)
        self.handler = getattr(found, name)
        asynchronous = self.options["mode"] == "async"
        if asynchronous and not asyncio.iscoroutinefunction(self.handler):
            raise TypeError(f"{name} is no async function")
        platform = nuclio_sdk.Platform("local", namespace="nuclio", on_control_callback=self.control)
        trigger = nuclio_sdk.TriggerInfo(self.options["trigger_kind"], self.options["trigger_name"])
        self.context = nuclio_sdk.Context(logger, platform, self.options["worker_id"], trigger)
        init_context = getattr(sys.modules[self.handler.__module__], "init_context", None)
        if init_context is not None:
            result = init_context(self.context)
            if asyncio.iscoroutinefunction(init_context):
                await result
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self.signalled, "termination")
        loop.add_signal_handler(signal.SIGUSR2, self.signalled, "drain")
        loop.add_signal_handler(signal.SIGCONT, self.go_on)

    async def control(self, message):
        self.channel.send("control", message)

    def signalled(self, kind):
        if kind == "drain" and self.discards:
            return
        self.wanted = kind
        self.discards = True
        if self.waiting is not None:
            self.waiting.cancel()

    def go_on(self):
        self.discards = False
        self.channel.send("called", "resumed")

    async def serve(self):
        while True:
            self.waiting = asyncio.ensure_future(self.read())
            try:
                message = await self.waiting
            except asyncio.CancelledError:
                message = None
            self.waiting = None
            if message is not None and self.discards:
                self.channel.send("called", "discarded")
            elif message is not None:
                if self.options["mode"] == "async":
                    task = asyncio.ensure_future(self.handle(*message))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                else:
                    await self.handle(*message)
            if self.wanted is not None:
                kind, self.wanted = self.wanted, None
                while self.busy:
                    await asyncio.sleep(0.001)
                result = self.context.platform._on_signal(callback_type=kind)
                if asyncio.iscoroutine(result):
                    await result
                self.channel.send("called", kind)

    async def read(self):
        head = await self.reader.readexactly(4)
        return pickle.loads(await self.reader.readexactly(struct.unpack(">I", head)[0]))

    async def handle(self, number, message):
        self.busy += 1
        try:
            raw = self.options["raw"]
            kinds = nuclio_sdk.event.EventDeserializerKinds
            event = nuclio_sdk.Event.deserialize(message, kind=kinds.msgpack_raw if raw else kinds.msgpack)
            try:
                output = self.handler(self.context, event)
                if asyncio.iscoroutine(output):
                    output = await output
                if self.options["streams"] and isinstance(output, nuclio_sdk.Response) and hasattr(output.body, "send"):
                    chunks = nuclio_sdk.Response.from_entrypoint_output_async(self.encoder.encode, output)
                    self.channel.send("answer", (number, [chunk async for chunk in chunks]))
                    return
                make = nuclio_sdk.Response.from_entrypoint_output
                is_batch = isinstance(output, list)
                encoded = (
                    [make(self.encoder.encode, one) for one in output]
                    if is_batch
                    else make(self.encoder.encode, output)
                )
            except BaseException as error:
                text = f'Exception caught in handler - "{error}": {traceback.format_exc()}'
                encoded = {"body": text, "body_encoding": "text", "content_type": "text/plain", "status_code": 500}
            self.channel.send("answer", (number, json.loads(self.encoder.encode(encoded))))
        finally:
            self.busy -= 1


async def main(options, channel):
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    wrapper = Wrapper(options, channel, reader)
    try:
        await wrapper.prepare()
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
    channel.send("ready", wrapper.handler.__module__)
    with contextlib.suppress(asyncio.IncompleteReadError):  # the processor is gone
        await wrapper.serve()


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a handler prints is no message
    sys.path.insert(0, os.environ["NUCLIO_PYTHON_PATH"])
    importlib.invalidate_caches()
    asyncio.run(main(json.loads(sys.argv[1]), Channel(out)))
