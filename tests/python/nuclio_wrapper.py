"""The Python side of a worker of the stand-in processor: what Nuclio's wrapper does with a handler.

The command line, the sockets, the framing, the signals and the order of all that are those of Nuclio 1.14, with
nuclio-sdk's own classes; `--mode async` is 1.15's: a server that many connections reach. Lines of the log that begin
with "stand-in:" are the only thing that the real one does not say.
"""

import argparse
import asyncio
import json
import logging
import re
import signal
import socket
import struct
import sys
import time
import traceback

import msgpack
import nuclio_sdk
import nuclio_sdk.event
import nuclio_sdk.json_encoder
import nuclio_sdk.logger

KINDS = nuclio_sdk.event.EventDeserializerKinds


class Gone(Exception):
    """The processor has closed the connection."""


class Lines(nuclio_sdk.logger.JSONFormatter):
    """Log lines among the answers."""

    def format(self, record):
        return "l" + super().format(record)


class Messages(nuclio_sdk.logger.JSONFormatter):
    """Log lines on the control socket, as 1.15 has them."""

    def format(self, record):
        return self.format_to_log_control_message(record)


class Wrapper:
    def __init__(self, options, loop, logger):
        self.options, self.loop, self.logger = options, loop, logger
        self.encoder = nuclio_sdk.json_encoder.Encoder()
        self.entrypoint = load(options.handler)
        self.control = connect(options.control_socket_path)
        self.control_file = self.control.makefile("w")
        self.control.setblocking(False)
        self.unpacker = msgpack.Unpacker(raw=not options.decode_event_strings, max_buffer_size=2**30)
        self.kind = KINDS.msgpack if options.decode_event_strings else KINDS.msgpack_raw
        platform = nuclio_sdk.Platform(
            options.platform_kind, namespace=options.namespace, on_control_callback=self.tell_control
        )
        trigger = nuclio_sdk.TriggerInfo(options.trigger_kind, options.trigger_name)
        self.platform = platform
        per_task = {"logger_per_async_task": True} if options.mode == "async" else {}
        self.context = nuclio_sdk.Context(logger, platform, options.worker_id, trigger, **per_task)
        self.wanted = {"drain": False, "termination": False}
        self.discards = False
        self.waiting = None

    async def prepare(self):
        """Call `init_context`, then listen to signals."""
        module = sys.modules[self.entrypoint.__module__]
        self.logger.debug(f"stand-in: init_context is looked up in {module.__name__}")
        if hasattr(module, "init_context"):
            try:
                result = module.init_context(self.context)
                if asyncio.iscoroutinefunction(module.init_context):
                    await result
            except BaseException:
                self.logger.error("Exception raised while running init_context")
                raise
        self.loop.add_signal_handler(signal.SIGUSR1, self.signalled, "termination")
        self.loop.add_signal_handler(signal.SIGUSR2, self.signalled, "drain")
        self.loop.add_signal_handler(signal.SIGCONT, self.go_on)

    def signalled(self, kind):
        if kind == "drain" and self.discards:
            return
        self.wanted[kind] = self.discards = True
        if self.waiting is not None:
            self.waiting.cancel()

    def go_on(self):
        self.discards = False
        self.logger.debug("stand-in: resumed")

    async def tell_control(self, message):
        if message["kind"] != "wrapperInitialized":
            self.logger.debug_with("Sending data on control socket", data_length=len(message))
        await self.write(self.control, self.encoder.encode(message))

    async def write(self, sock, line):
        await self.loop.sock_sendall(sock, (line + "\n").encode())

    async def serve(self, sock):
        """Take events from a connection, one at a time, until it is closed."""
        while True:
            try:
                self.waiting = asyncio.create_task(self.receive(sock, 4))
                (length,) = struct.unpack(">I", await self.waiting)
                self.waiting = None
                self.unpacker.feed(await self.receive(sock, length))
                event = nuclio_sdk.Event.deserialize(next(self.unpacker), kind=self.kind)
                if self.discards:
                    self.logger.debug("Event has been discarded")
                else:
                    await self.handle(event, sock)
                del event
            except asyncio.CancelledError:  # noqa: PERF203  # each event for itself
                self.logger.debug("Waiting for event message was interrupted by a signal")
            except Gone as error:
                await self.fail(error, "Exception caught while serving", sock)
                sys.exit(1)
            finally:
                await self.call_back()

    async def receive(self, sock, length):
        data = b""
        while len(data) < length:
            some = await self.loop.sock_recv(sock, length - len(data))
            if not some:
                raise Gone("Client disconnected")
            data += some
        return data

    async def handle(self, event, sock):
        try:
            start = time.time()
            output = self.entrypoint(self.context, event)
            if asyncio.iscoroutine(output):
                output = await output
            await self.write(sock, "m" + json.dumps({"duration": time.time() - start or sys.float_info.min}))
            if self.options.streams and self.is_generator(output):
                await self.stream(output, sock)
                return
            make = nuclio_sdk.Response.from_entrypoint_output
            encode = self.encoder.encode
            made = [make(encode, one) for one in output] if isinstance(output, list) else make(encode, output)
            await self.write(sock, "r" + encode(made))
        except BaseException as error:
            await self.fail(error, "Exception caught in handler", sock)

    @staticmethod
    def is_generator(output):
        return nuclio_sdk.Response.get_handler_output_type(output) != "single"

    async def stream(self, output, sock):
        """Send chunks; how 1.15 frames them is not known here, so a "c" goes ahead of each, and an "e" ends them."""
        chunks = nuclio_sdk.Response.from_entrypoint_output_async(self.encoder.encode, output)
        async for chunk in chunks:
            await self.write(sock, "c" + json.dumps(chunk))
        await self.write(sock, "e")

    async def fail(self, error, said, sock):
        text = traceback.format_exc()
        self.logger.error_with(said, exc=str(error), traceback=text)
        body = {"body": f'{said} - "{error}": {text}', "body_encoding": "text", "content_type": "text/plain"}
        try:
            await self.write(sock, "r" + self.encoder.encode(body | {"status_code": 500}))
        except Exception as failure:
            print(f"Failed to write message to processor after serving error detected, is socket open?\n{failure}")

    async def call_back(self):
        for kind in ("drain", "termination"):
            if self.wanted[kind]:
                self.wanted[kind] = False
                self.logger.debug(f"Calling platform {kind} handler")
                result = self.platform._on_signal(callback_type=kind)
                if asyncio.iscoroutine(result):
                    await result
                self.logger.debug(f"stand-in: {kind} handler has returned")


def load(handler):
    match = re.match(r"^([\w|-]+(\.[\w|-]+)*):(\w+)$", handler)
    if not match:
        raise ValueError(f"Malformed handler - {handler!r}")
    module = __import__(match[1])
    for part in match[1].split(".")[1:]:
        module = getattr(module, part)
    return getattr(module, match[3])


def connect(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    return sock


async def run_sync(wrapper, sock):
    await wrapper.prepare()
    await wrapper.write(sock, "s")
    await wrapper.tell_control({"kind": "wrapperInitialized", "attributes": {"ready": "true"}})
    await wrapper.serve(sock)


async def run_async(wrapper, address):
    if not asyncio.iscoroutinefunction(wrapper.entrypoint):
        raise TypeError("The provided handler must be an async function (async def).")
    await wrapper.prepare()
    host, _, port = address.rpartition(":")
    listener = socket.create_server((host, int(port)))
    listener.setblocking(False)
    await wrapper.tell_control({"kind": "wrapperInitialized", "attributes": {"ready": "true"}})
    serving = []
    while True:
        sock, _ = await wrapper.loop.sock_accept(listener)
        sock.setblocking(False)
        await wrapper.write(sock, "s")
        serving.append(asyncio.create_task(wrapper.serve(sock)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("handler", "event-socket-path", "control-socket-path", "namespace", "worker-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--platform-kind", choices=["local", "kube"], required=True)
    parser.add_argument("--trigger-kind")
    parser.add_argument("--trigger-name")
    parser.add_argument("--decode-event-strings", action="store_true")
    parser.add_argument("--mode", choices=["sync", "async"], default="sync")
    parser.add_argument("--streams", action="store_true")
    options = parser.parse_args()
    logger = nuclio_sdk.Logger(logging.DEBUG)
    logger.set_handler("default", sys.stdout, nuclio_sdk.logger.JSONFormatter())
    logger.bind(worker_id=options.worker_id)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        wrapper = Wrapper(options, loop, logger)
        if options.mode == "sync":
            sock = connect(options.event_socket_path)
            file = sock.makefile("w")
            sock.setblocking(False)
            logger.set_handler("default", file, Lines())
            running = run_sync(wrapper, sock)
        else:
            logger.set_handler("default", wrapper.control_file, Messages())
            running = run_async(wrapper, options.event_socket_path)
    except BaseException as error:
        text = traceback.format_exc()
        logger.error_with("Caught unhandled exception while initializing", err=str(error), traceback=text)
        raise SystemExit(1) from None
    try:
        loop.run_until_complete(running)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


if __name__ == "__main__":
    main()
