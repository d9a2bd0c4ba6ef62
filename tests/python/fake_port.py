"""A port that writes down what a stage does, and refuses what the core would refuse."""

from __future__ import annotations

from penstock.event import Event


class FakePort:
    def __init__(self):
        self.held = set()
        self.emitted = []
        self.dropped = []
        self.failed = []
        self.wakes = []

    def emit(self, tokens, value, *, keep=False, outlet=None):
        assert not keep or len(tokens) == 1
        self._check(tokens, end=not keep)
        self.emitted.append((list(tokens), value))

    def drop(self, tokens):
        self._check(tokens)
        self.dropped += tokens

    def fail(self, tokens, error):
        self._check(tokens)
        self.failed += [(token, error) for token in tokens]

    def wake_after(self, seconds):
        self.wakes.append(seconds)

    def _check(self, tokens, end=True):
        assert self.held.issuperset(tokens), f"the core holds {self.held}, not {tokens}"
        if end:
            self.held.difference_update(tokens)

    @property
    def bodies(self):
        return [value.body if isinstance(value, Event) else value for _, value in self.emitted]


def feed(stage, bodies, port=None, **event_options):
    """Give a stage events, numbered from 0; an exception fails the event as in the core."""
    port = port or FakePort()
    for token, body in enumerate(bodies):
        give(stage, port, token, Event(body, **event_options))
    return port


def give(stage, port, token, event):
    port.held.add(token)
    try:
        stage.take(port, token, event)
    except Exception as error:
        port.fail([token], error)
