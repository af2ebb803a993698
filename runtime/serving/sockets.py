"""Where the server listens."""

import socket

from segtool.errors import SegtoolError


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        SegtoolError: the address is not of this machine, or taken.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SegtoolError(
            f"cannot listen on {host}:{port} ({error.strerror})", mend="choose another --host or --port"
        ) from error
