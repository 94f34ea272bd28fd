"""HOST:PORT, and that process 0 listens there and nowhere else."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pggan_jax.distributed import coordinator as coordinator_module
from pggan_jax.distributed.coordinator import Coordinator, parse_coordinator
from pggan_jax.errors import UserError


class TestForm:
    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [
            ("localhost:1", "localhost", 1),
            ("10.0.0.1:65535", "10.0.0.1", 65535),
            ("[::1]:80", "::1", 80),
            (" node-7.cluster:9876 ", "node-7.cluster", 9876),
        ],
    )
    def test_is_understood(self, text, host, port):
        parsed = parse_coordinator(text)
        assert parsed == Coordinator(host, port)
        assert str(parsed) == text.strip()

    @pytest.mark.parametrize(
        "text",
        [
            *("", ":", "localhost", "localhost:", ":9876", "::1", "::1:80", "[::1]", "a b:80", "http://a:80"),
            *("a:0", "a:65536", "a:-1", "a:x", "a:٣", "a:1.5", "a:" + "9" * 5000, "x" * 5000),
        ],
    )
    def test_is_one_line(self, text):
        with pytest.raises(UserError) as caught:
            parse_coordinator(text)
        message = str(caught.value)
        assert message.startswith("--coordinator=")
        assert "\n" not in message
        assert len(message) <= 300


class TestBinding:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_a_local_one_is_local(self, host):
        assert Coordinator(host, 4321).bind_address() == ("127.0.0.1:4321", "")

    def resolved(self, monkeypatch, addresses, own):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (one, 0)) for one in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr(coordinator_module, "_is_own", own.__contains__)

    def test_a_name_of_this_machine_is_its_address(self, monkeypatch):
        self.resolved(monkeypatch, ["fe80::1%eth0", "10.1.2.3", "127.0.1.1"], {"10.1.2.3", "127.0.1.1", "fe80::1%eth0"})
        assert Coordinator("node7", 9).bind_address() == ("10.1.2.3:9", "")

    def test_an_address_of_version_6_is_in_brackets(self, monkeypatch):
        self.resolved(monkeypatch, ["fd00::7"], {"fd00::7"})
        assert Coordinator("fd00::7", 9).bind_address() == ("[fd00::7]:9", "")

    @pytest.mark.parametrize(("addresses", "own"), [(["127.0.1.1"], {"127.0.1.1"}), (["192.0.2.1"], set()), ([], set())])
    def test_a_name_that_leads_elsewhere_leaves_all_interfaces_and_says_so(self, monkeypatch, addresses, own):
        """Such as a machine's own name in Debian's /etc/hosts, or the outer address of a router."""
        self.resolved(monkeypatch, addresses, own)
        address, warning = Coordinator("node7", 9).bind_address()
        assert address == "[::]:9"
        assert warning.startswith("WARNING: --coordinator=node7:9: is not an address of this machine; ")
        assert len(warning) <= 300


LISTEN = """
import sys
from pathlib import Path
import psutil
from pggan_jax.distributed import processes
processes.initialize_hosts(f"localhost:{sys.argv[1]}", 1, 0)
connections = psutil.Process().net_connections()
print(*(one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN and one.laddr.port == int(sys.argv[1])))
"""


def test_nobody_else_can_reach_a_local_run():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-c", LISTEN, str(port)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    assert [one.removeprefix("::ffff:") for one in done.stdout.split()] == ["127.0.0.1"], done.stderr
