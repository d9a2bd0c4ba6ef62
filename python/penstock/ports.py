"""Ports that a server is to listen on: free, or held for the processes that do."""

from __future__ import annotations

import socket

from penstock.errors import PortInUse


def check_port(host: str, port: int) -> None:
    """Raise if the port is taken, before anything is loaded that takes time.

    Raises
    ------
    PortInUse
        Another process listens there.
    """
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port"
            ) from error


def hold_port(host: str, port: int) -> socket.socket:
    """Keep a port for other processes, who listen there; the socket that is returned does not.

    Parameters
    ----------
    host : str
        The address.
    port : int
        0 takes a free one.

    Raises
    ------
    PortInUse
        Another server listens there, even one that would share.
    """
    check_port(host, port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        family, _, _, _, address = found
        holder = socket.socket(family, socket.SOCK_STREAM)
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(address)
        except BaseException:
            holder.close()
            raise
    except OSError as error:
        raise PortInUse(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port") from error
    return holder
