"""What an NDIF server takes from this machine: addresses, programs, an environment and a short path."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ndif.services import ServiceError

HOST = "127.0.0.1"
SHIM = Path(__file__).with_name("shim")
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE")


def environment(ports: dict[str, int]) -> dict[str, str]:
    """Return the environment variables of every service: from the caller's, only those that programs need to start."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return kept | {
        "PYTHONPATH": str(SHIM),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "no_proxy": HOST,
        "RAY_ADDRESS": f"{HOST}:{ports['ray']}",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray listens on the network's interface, whatever it is told
        "RAY_USAGE_STATS_ENABLED": "0",
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # with it, Ray's client server often dies as it starts
        "NDIF_RAY_ADDRESS": f"ray://{HOST}:{ports['ray_client']}",
        "NDIF_REDIS_URL": f"redis://{HOST}:{ports['redis']}",
        "NDIF_OBJECT_STORE_URL": f"http://{HOST}:{ports['s3']}",
        "NDIF_OBJECT_STORE_ACCESS_KEY": "test",
        "NDIF_OBJECT_STORE_SECRET_KEY": "test",
        "NDIF_CONTROLLER_IMPORT_PATH": "cpu_actors.ControllerActor",
        "NDIF_DEFAULT_MODEL_ACTOR_CLASS": "cpu_actors.ModelActor",
        "NDIF_DEFAULT_DTYPE": "float32",
        "NDIF_DEFAULT_PADDING_BIAS": "0",
    }


def module(name: str) -> tuple[str, str, str]:
    """Return the command that runs a module."""
    return sys.executable, "-m", name


def script(name: str) -> str:
    """Return the path of a program in this environment."""
    return str(Path(sys.executable).with_name(name))


def free_ports(n: int) -> list[int]:
    """Find unused ports, below the system's ephemeral ports and above Ray's ports for workers."""
    free: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            free.append(port)
        if len(free) == n:
            return free
    raise ServiceError(f"found only {len(free)} of {n} free ports between 20000 and 32000")


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


@contextmanager
def short_name(folder: Path) -> Iterator[Path]:
    """Make a folder with a short path: Ray opens sockets in it, whose paths the system limits to 107 bytes.

    The same for the same folder, so that a killed run leaves one link at most, which the next run uses.
    """
    folder.mkdir()
    link = Path(tempfile.gettempdir(), f"eap-ndif-{hashlib.sha256(bytes(folder)).hexdigest()[:12]}")
    link.unlink(missing_ok=True)
    link.symlink_to(folder)
    try:
        yield link
    finally:
        link.unlink(missing_ok=True)
