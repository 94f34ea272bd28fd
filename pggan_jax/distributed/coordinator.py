"""Address of the coordinator of a run over several hosts, and where process 0 listens."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from dataclasses import dataclass

from pggan_jax.errors import UserError

_MOST_PORTS = 65535


@dataclass(frozen=True)
class Coordinator:
    """A parsed `--coordinator`.

    Attributes:
        host: name or address, without the brackets of IPv6.
        port: from 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return _with_port(self.host, self.port)

    def bind_address(self) -> tuple[str, str]:
        """Return the address and port where process 0 listens, and a warning or an empty text.

        If the name resolves to another machine, as behind a router, or to a loopback address that other hosts cannot reach,
        process 0 listens on all interfaces.
        """
        try:
            found = {str(info[4][0]) for info in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)}
        except OSError:
            found = set()
        # Loopback only if it was requested. IPv4 first: every system resolves localhost to it.
        usable = [one for one in sorted(found, key=lambda one: (":" in one, one)) if self._is_wanted(one) and _is_own(one)]
        if usable:
            return _with_port(usable[0], self.port), ""
        return f"[::]:{self.port}", (
            f"WARNING: --coordinator={str(self)[:100]}: is not an address of this machine; process 0 listens on all "
            f"interfaces, and anyone who reaches port {self.port} can join: let a firewall admit only the run's hosts"
        )

    def _is_wanted(self, address: str) -> bool:
        is_local = ipaddress.ip_address(address.partition("%")[0]).is_loopback
        return not is_local or self.host == "localhost" or self.host.endswith(".localhost") or _is_address(self.host)


def check_host_flags(
    coordinator: str | None, num_processes: int | None, process_id: int | None, *, cluster: bool
) -> Coordinator | None:
    """Check the flags of a run over several hosts and return its coordinator.

    Returns:
        The coordinator; None for a run of one process, or if the cluster's environment names it.

    Raises:
        UserError: only some of the three are given, or together with `cluster`, or one of them is impossible.
    """
    given = [value is not None for value in (coordinator, num_processes, process_id)]
    if cluster and any(given):
        raise UserError(
            "--cluster reads --coordinator, --num_processes and --process_id from the environment; remove these flags"
        )
    if not any(given):
        return None
    if coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            "a run over several hosts needs all of --coordinator=HOST:PORT, --num_processes=N and --process_id=0..N-1"
        )
    if not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id}: must be from 0 to {num_processes - 1} (--num_processes={num_processes})")
    return parse_coordinator(coordinator)


def listening_address(coordinator: Coordinator) -> str | None:
    """Return where process 0 listens; None if JAX's own variable sets it. Warnings go to stderr."""
    if "JAX_COORDINATOR_BIND_ADDRESS" in os.environ:
        return None
    address, warning = coordinator.bind_address()
    if warning:
        print(warning, file=sys.stderr, flush=True)
    return address


def parse_coordinator(text: str) -> Coordinator:
    """Parse HOST:PORT.

    Raises:
        UserError: the text has another form, or the port is outside 1 to 65535.
    """
    host, separator, port = text.strip().rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not separator or not bare or is_bare_ipv6 or any(map(str.isspace, bare)) or "/" in bare:
        raise UserError(
            f"--coordinator={text[:100]}: must be HOST:PORT, such as 10.0.0.1:9876 or [::1]:9876; name process 0's machine and "
            "a free port of it"
        )
    if not (port.isascii() and port.isdigit() and len(port) <= len(str(_MOST_PORTS)) and 1 <= int(port) <= _MOST_PORTS):
        raise UserError(f"--coordinator={text[:100]}: the port must be a number from 1 to {_MOST_PORTS}; name a free one")
    return Coordinator(bare, int(port))


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_own(address: str) -> bool:
    """Whether this machine can listen at the address."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.bind((address, 0))
    except OSError:
        return False
    return True
