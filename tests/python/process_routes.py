"""Routes for processes: what runs in one has to be in a module that can be imported."""

import os
import threading

from penstock.serving import V2ModelServer


class Times(V2ModelServer):
    def load(self):
        self.factor = self.get_param("factor", 2)

    def predict(self, body):
        return [row * self.factor for row in body["inputs"]]

    def op_where(self, event):
        event.body = os.getpid()
        return event


class Ends(Times):
    def predict(self, body):
        os._exit(3)


class Unloadable(V2ModelServer):
    def load(self):
        raise OSError("no such disk")


class Unspeakable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Adds:
    def __init__(self, amount=1):
        self.amount = amount

    def do(self, body):
        return {"sum": body["x"] + self.amount, "pid": os.getpid()}


def double(body):
    return {"double": body["x"] * 2, "pid": os.getpid()}


async def triple(body):
    return {"triple": body["x"] * 3}


def parameter(body, context):
    return {"parameter": context.get_param("rate")}


def path_of(event):
    event.body = {"path": event.path, "method": event.method, "id": event.id, "key": event.key}
    return event


def waits(fifo):
    with open(fifo, "w") as begun:
        begun.write("yes")
    threading.Event().wait()


def fails(body):
    raise KeyError("x")


def fails_oddly(body):
    raise Unspeakable("this", "that")


def unsendable(body):
    return {"function": lambda: None}
