"""An NDIF server on this machine's CPU, reachable from this machine only.

Its API takes requests, Redis queues them, a dispatcher gives them to actors of Ray, one for each model and a controller
over them, and large results come back through an S3 server. ``shim`` holds what lets this run without a GPU.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis
from ndif.cli.lib.events import fetch_queue_state, kill_request

from tests.ndif.local import HOST, environment, free_ports, is_listening, module, script, short_name
from tests.ndif.services import ServiceError, Services, services

READY_WITHIN = 120.0
"""Seconds for each part of the server."""
MEMORY = 4_000_000_000
"""Bytes that Ray is told there are for models."""
OBJECT_STORE = 80_000_000
"""Bytes that Ray passes objects between processes in."""
PORTS = ("redis", "s3", "ray", "ray_client", "dashboard", "agent", "agent_grpc", "metrics", "api")


class NdifServer:
    """A running server.

    Attributes:
        url: where clients send requests.
        logs: the folder of its logs; those of models are in ``ray/session_latest/logs``.
        timings: seconds that each part took to be ready.
    """

    def __init__(self, running: Services, ports: dict[str, int], ray_folder: Path) -> None:
        self.url = f"http://{HOST}:{ports['api']}"
        self.logs = running.logs
        self.timings: dict[str, float] = {}
        self._services = running
        self._ports = ports
        self._ray_folder = ray_folder
        self._redis_url = f"redis://{HOST}:{ports['redis']}"

    def start(self) -> None:
        """Start every part, and the controller once there is a Ray to run it.

        Raises:
            ServiceError: if a part ends or is not ready in time.
        """
        port = {name: str(number) for name, number in self._ports.items()}
        start, wait = self._services.start, self._wait_for_port
        start("redis", "redis-server", "--bind", HOST, "--port", port["redis"], "--save", "", "--appendonly", "no")
        start("s3", script("moto_server"), "-H", HOST, "-p", port["s3"])
        start("ray", *self._ray_command())
        with self._timed("redis"):
            wait("redis", "redis")
        # These two take as long to start as Ray; the dispatcher looks for the controller until there is one.
        start("dispatcher", *module("ndif.services.api.queue.dispatcher"))
        self._launch_api()
        with self._timed("ray"):
            wait("ray", "ray_client")
            wait("ray", "dashboard")  # the controller lists nodes through it
        with self._timed("controller"):
            controller = module("ndif.services.ray.deployments.controller.controller")
            self._services.run("controller", *controller, timeout=READY_WITHIN)
        with self._timed("dispatcher"):
            self._services.wait("dispatcher", self._has_controller, READY_WITHIN)
        with self._timed("s3"):
            wait("s3", "s3")
        with self._timed("api"):
            self._wait_for_api()

    def start_api(self, **variables: str) -> None:
        """Start the API, with additions to its environment such as ``NDIF_MIN_NNSIGHT_VERSION="99"``.

        Raises:
            ServiceError: if it is not ready in time.
        """
        self._launch_api(**variables)
        self._wait_for_api()

    def stop_api(self) -> None:
        """Kill the API: connections to it break, and new ones are refused. Models stay deployed, requests run on."""
        self._services.stop("api")

    def cancel(self, request_id: str) -> dict[str, Any]:
        """Cancel a request, waiting or running, as ``ndif kill`` does; NDIF's answer has ``status`` and ``message``."""
        return kill_request(request_id, self._redis_url)

    def running(self) -> list[str]:
        """Return the ids of the requests that models are working on."""
        processors = fetch_queue_state(self._redis_url)["processors"].values()
        replicas = [replica for processor in processors for replica in processor["replicas"]]
        return [replica["current_request_id"] for replica in replicas if replica["current_request_id"]]

    def listening(self) -> set[tuple[str, int]]:
        """Return the addresses on which processes of the server listen."""
        addresses = set()
        for process in self._services.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                addresses |= {
                    (str(one.laddr.ip), int(one.laddr.port))
                    for one in process.net_connections("inet")
                    if one.status == psutil.CONN_LISTEN
                }
        return addresses

    def get(self, path: str) -> Any:
        """Return the JSON response of the API to GET ``path``, such as ``/status`` or ``/env``."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def _ray_command(self) -> list[str]:
        ports = self._ports
        resources = {"head": 10, "cuda_memory_bytes": MEMORY, "cpu_memory_bytes": MEMORY}
        settings = {
            "node-ip-address": HOST,
            "port": ports["ray"],
            "ray-client-server-port": ports["ray_client"],
            "dashboard-host": HOST,
            "dashboard-port": ports["dashboard"],
            "dashboard-agent-listen-port": ports["agent"],
            "dashboard-agent-grpc-port": ports["agent_grpc"],
            "metrics-export-port": ports["metrics"],
            "include-dashboard": "true",
            "num-cpus": 1,
            "num-gpus": 1,  # a node without one is not given models
            "resources": json.dumps(resources),
            "object-store-memory": OBJECT_STORE,
            "temp-dir": self._ray_folder,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [script("ray"), "start", "--head", "--block", "--disable-usage-stats", *options]

    def _launch_api(self, **variables: str) -> None:
        bind = ("--bind", f"{HOST}:{self._ports['api']}")
        command = (script("gunicorn"), "--config", "python:api_config", *bind, "ndif.services.api.app:app")
        self._services.start("api", *command, **variables)

    def _wait_for_api(self) -> None:
        self._services.wait("api", self._takes_requests, READY_WITHIN)
        self._services.record()

    def _wait_for_port(self, service: str, port: str) -> None:
        self._services.wait(service, lambda: is_listening(self._ports[port]), READY_WITHIN)

    def _has_controller(self) -> bool:
        with redis.Redis.from_url(self._redis_url) as client:
            return client.get("ray:connected") is not None

    def _takes_requests(self) -> bool:
        with contextlib.suppress(OSError):  # refused, reset or slow
            return self.get("/connected") == {"status": "connected"}
        return False

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.timings[part] = time.monotonic() - start


@contextmanager
def ndif_server(folder: Path) -> Iterator[NdifServer]:
    """Run a server inside the context, with its logs in ``folder``, which is emptied first.

    Raises:
        ServiceError: if it cannot be started; the message says what to do, or what the log says.
    """
    if shutil.which("redis-server") is None:
        raise ServiceError("redis-server was not found; as root: apt-get install redis-server")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    with services(folder, environment(ports)) as running, short_name(running.logs / "ray") as ray_folder:
        server = NdifServer(running, ports, ray_folder)
        server.start()
        yield server
