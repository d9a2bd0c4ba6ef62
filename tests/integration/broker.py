#!/usr/bin/env python3
"""One real Apache Kafka broker (KRaft, single node) on 127.0.0.1, for tests.

    broker.py start [--dir D] [--port N] [--set key=value]...
    broker.py stop [--dir D] [--kill]
    broker.py status [--dir D]

`start` prints the bootstrap address and nothing else on standard output, and
returns once the broker serves metadata; starting a running broker prints its
address again. Each --dir is a broker of its own, with its data, log and
settings below it; a restart there keeps the data and, if it is still free,
the port. `stop --kill` is a crash: SIGKILL, no clean shutdown.

Needs Linux, Java 17 or newer and, the first time, Maven: Maven fetches the jars, which
stay in ~/.cache/penstock-kafka. From Python, call start(),
stop() and status(); what goes wrong raises KafkaError.
"""

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VERSION = "4.4.0"
HOST = "127.0.0.1"
CACHE = Path.home() / ".cache" / "penstock-kafka"
DEFAULT_DIR = CACHE / "broker"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20

# The quick compiler alone and the serial collector make the shortest start.
JAVA = [
    "java",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
]

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
# Kafka brings no SLF4J 1.x back end of its own; without one it logs nothing.
POM = f"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""

# One replica and one partition for each internal topic, no wait before a
# group's first rebalance, short sessions, and a log cleaner that fits the heap.
# After a crash, a broker may register again once its old session has run out.
SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class KafkaError(Exception):
    """The broker could not be fetched, started or stopped."""


def start(directory=DEFAULT_DIR, port=0, settings=()):
    """Start the broker unless it runs; wait until it answers; return its address.

    Port 0 means the port that this directory had last, else any free one.
    `settings` are further 'key=value' broker settings, for a start that starts;
    in them, {host}, {port} and {controller_port} stand for what they are, and
    {other_port} for a free one, for a further listener.
    """
    home = Path(directory).resolve()
    with locked(home / "lock"):
        state = read_state(home)
        if not alive(state):
            state = launch(home, port, state, settings)
        elif port not in (0, state["port"]):
            raise KafkaError(f"the broker in {home} already runs, on port {state['port']}")
        await_answer(home, state)
    return address(state)


def other_address(directory):
    """The address of a further listener, at {other_port}."""
    return address({"port": read_state(Path(directory).resolve())["other_port"]})


def stop(directory=DEFAULT_DIR, kill=False):
    """Stop the broker if it runs."""
    home = Path(directory).resolve()
    if not home.is_dir():
        return
    with locked(home / "lock"):
        state = read_state(home)
        for sign in [signal.SIGKILL] if kill else [signal.SIGTERM, signal.SIGKILL]:
            if not alive(state):
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(state["pid"], sign)
            if wait_until(lambda: not alive(state), STOP_TIMEOUT_S):
                return
        raise KafkaError(f"process {state['pid']} does not end")


def status(directory=DEFAULT_DIR):
    """The address and process id of a broker that answers, or None."""
    home = Path(directory).resolve()
    state = read_state(home)
    if alive(state) and answers(state["port"]):
        return address(state), state["pid"]
    return None


def launch(home, port, last, settings):
    """Write the settings, format the storage if it is new, start the process."""
    try:
        ports = choose_ports(port or (last["port"] if last else 0))
    except (OSError, OverflowError) as error:
        if port:
            raise KafkaError(f"port {port} cannot be had: {error}") from error
        ports = choose_ports(0)
    known = {"host": HOST, "data": home / "data", **ports}
    config = home / "server.properties"
    config.write_text(SETTINGS.format(**known) + "".join(f"{line.format(**known)}\n" for line in settings))
    java = [*JAVA, "-cp", f"{jars()}/*"]
    if not (home / "data" / "meta.properties").exists():
        # The id is 16 bytes in base64; a leading '-' would read as an option.
        cluster_id = "A" + secrets.token_urlsafe(16)[1:]
        run([*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)])
    # The shell hands the broker over to init, so that it is nobody's child here.
    pid = int(
        run(
            ["sh", "-c", 'setsid "$@" </dev/null >>broker.log 2>&1 & echo $!', "sh", *java, "kafka.Kafka", str(config)],
            cwd=home,
        )
    )
    state = {"pid": pid, "born": born(pid), **ports}
    (home / "state.json").write_text(json.dumps(state))
    return state


def await_answer(home, state):
    """Wait until the broker answers; end one that does not in time."""
    wait_until(lambda: answers(state["port"]) or not alive(state), START_TIMEOUT_S)
    if alive(state) and answers(state["port"]):
        return
    if alive(state):
        os.kill(state["pid"], signal.SIGKILL)
    tail = (home / "broker.log").read_text(errors="replace").splitlines()[-15:]
    raise KafkaError("\n".join(["the broker did not start; the end of its log:", *tail]))


def answers(port):
    """Whether a broker serves metadata on this port that lists a broker as ready."""
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)  # Metadata v1, id 0, no client, no topics
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as stream:
                reply = stream.read(12)  # length, request id, number of brokers
    except OSError:
        return False
    return len(reply) == 12 and struct.unpack(">iii", reply)[2] > 0


def alive(state):
    """Whether the process of this state runs; its birth tells it from a reused id."""
    return bool(state) and state["born"] is not None and born(state["pid"]) == state["born"]


def born(pid):
    """When the process started, in clock ticks since boot; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    # The first thread may end before others, which hold the port until they do.
    return None if state in "ZX" and threads <= 1 else started


def jars():
    """The folder of the broker's jars, filled with Maven the first time."""
    lib = CACHE / f"kafka-{VERSION}"
    with locked(CACHE / "jars.lock"):
        if not lib.is_dir():
            print(f"broker: fetching Kafka {VERSION} with Maven", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                pom = Path(work, "pom.xml")
                pom.write_text(POM)
                run(["mvn", "-B", "-q", "-f", str(pom), f"{PLUGIN}:copy-dependencies", f"-DoutputDirectory={work}/lib"])
                os.rename(f"{work}/lib", lib)
    return lib


def run(command, cwd=None):
    """What the command prints; an error carries the end of that."""
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise KafkaError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        tail = done.stdout.splitlines()[-15:]
        raise KafkaError("\n".join([f"{command[0]} failed:", *tail]))
    return done.stdout


@contextlib.contextmanager
def locked(path):
    """Hold this lock file, made if need be, against other users of this script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_state(home):
    try:
        return json.loads((home / "state.json").read_text())
    except (OSError, ValueError):
        return None


def address(state):
    return f"{HOST}:{state['port']}"


def choose_ports(port):
    """The broker's port, any free one if `port` is 0, one for its controller and one for what else it is to hear."""
    with socket.socket() as broker, socket.socket() as controller, socket.socket() as other:
        broker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        broker.bind((HOST, port))
        controller.bind((HOST, 0))
        other.bind((HOST, 0))
        names = ("port", "controller_port", "other_port")
        return dict(zip(names, (one.getsockname()[1] for one in (broker, controller, other)), strict=True))


def wait_until(condition, timeout_s):
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("start", "stop", "status"):
        command = commands.add_parser(name)
        command.add_argument("--dir", default=DEFAULT_DIR, help="default: %(default)s")
        if name == "start":
            command.add_argument(
                "--port", type=int, default=0, help="default: this directory's last port, else a free one"
            )
            command.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="KEY=VALUE",
                dest="settings",
                help="a further broker setting",
            )
        if name == "stop":
            command.add_argument("--kill", action="store_true", help="crash it: SIGKILL")
    args = parser.parse_args()
    try:
        if args.command == "start":
            print(start(args.dir, args.port, args.settings))
        elif args.command == "stop":
            stop(args.dir, args.kill)
        else:
            found = status(args.dir)
            print("running at {} as process {}".format(*found) if found else "not running")
            return 0 if found else 1
    except KafkaError as error:
        print(f"broker: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
