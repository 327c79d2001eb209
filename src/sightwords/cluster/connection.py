"""The Ray cluster as the driver sees it: found or started, its nodes, whether it still answers.

Some habits of Ray (2.60) are dealt with here. `ray.init` retries an address where nothing listens for minutes, so the
port is tried first. A driver whose head node is gone is ended by Ray after 60 s, without an exception; the wait is
made longer and the head node is watched here, so that the run ends with an error and everything stored. Ray prints a
page about every worker that dies; the pool says it in a line. What `ray.init` changes in this process is put back.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sightwords.cluster.placement import Gpu, Node, Placement, plan
from sightwords.errors import ConfigError, MissingExtraError, UnavailableError

GONE_S = 40.0  # a head node that has not answered for so long is gone
_ASK_EVERY_S = 3.0
_DIAL_S = 2.0
_AUTH_MODE = "RAY_AUTH_MODE"
_RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
_STORE_BYTES = 2 * 2**30  # of a cluster that is started here; the chunks in flight need far less


class Cluster:
    """A connection to a Ray cluster; closed, it disconnects, and ends a cluster that it started.

    A connection that this process had already is used and left open.

    Args:
        address: `HOST:PORT` of the head node; `auto` takes $RAY_ADDRESS, else the cluster that runs on this machine,
            else starts one on this machine; `local` starts one.

    Attributes:
        address: of the head node.
        ours: whether this object connected, and so disconnects.
        store_bytes: size of this machine's object store.

    Raises:
        MissingExtraError: ray is not installed.
        ConfigError: the address is one of Ray's client or job server.
        UnavailableError: nothing answers at the address, or it runs other versions.
    """

    def __init__(self, address: str = "auto") -> None:
        self.ray = ray_library()
        self.ours = not self.ray.is_initialized()
        self._auth_mode = os.environ.get(_AUTH_MODE)
        if self.ours:
            self._connect(address)
        context = self.ray.get_runtime_context()
        self.address: str = context.gcs_address
        self._own_node: str = context.get_node_id()
        own = next(node for node in self.nodes() if node.node_id == self._own_node)
        self.store_bytes = int(own.store_bytes)
        self._asked_s = time.monotonic()
        self._missed_s: float | None = None

    def close(self) -> None:
        """Disconnect; may be called twice."""
        if self.ours:
            self.ours = False
            self.ray.shutdown()
            _show_worker_logs(self.ray, True)
            if self._auth_mode is None:
                _forget_token(self.ray)

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        return [_node(entry) for entry in self.ray.nodes() if entry["Alive"]]

    def place(self, wanted: int | None, gpu: Gpu = "auto", whole: bool = True) -> Placement:
        """Return how many workers to start here and what each takes; the arguments are those of `plan`."""
        return plan(self.nodes(), wanted, gpu, whole)

    def check(self) -> None:
        """Notice a cluster that has disappeared; cheap enough to be called all the time.

        Raises:
            UnavailableError: the head node has not answered for `GONE_S` seconds.
        """
        now = time.monotonic()
        if now - self._asked_s < _ASK_EVERY_S:
            return
        self._asked_s = now
        if _answers(self.address):
            self._missed_s = None
            return
        if self._missed_s is None:
            self._missed_s = now
        if now - self._missed_s >= GONE_S:
            raise UnavailableError(
                f"The Ray cluster at {self.address} is gone: its head node has not answered for {GONE_S:.0f} s."
            )

    def check_own_node(self) -> None:
        """Notice after a worker's death that it is this machine that was lost.

        Raises:
            UnavailableError: it is so.
        """
        # without a head node the question would wait for one
        if _answers(self.address) and all(node.node_id != self._own_node for node in self.nodes()):
            raise UnavailableError("This machine is no longer part of the Ray cluster: Ray's process here has died.")

    def _connect(self, address: str) -> None:
        found = _find(address)
        options: dict[str, Any] = {"address": found, "log_to_driver": False, "logging_level": "ERROR"}
        if found is None:
            options |= {"address": "local", "include_dashboard": False, "object_store_memory": _store_bytes()}
        elif address == "auto":
            options["address"] = None  # the same one; only so Ray uses the token of the user's own clusters
        with _sigterm_kept(), _patient():
            try:
                self.ray.init(**options)
            except (OSError, RuntimeError, ValueError, SystemExit, self.ray.exceptions.RayError) as error:
                where = f"connect to the Ray cluster at {found}" if found else "start a Ray cluster on this machine"
                hint = f" If it asks for a token, set {_AUTH_MODE}=token." if found and not self._auth_mode else ""
                said = " ".join(str(error).split()).rstrip(".")
                raise UnavailableError(f"Cannot {where}: {said}.{hint}") from None
        _show_worker_logs(self.ray, False)


def ray_library() -> Any:
    """Return the module ray.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "ray") from None
    return ray


def _find(address: str) -> str | None:
    """Return the address of a cluster that answers, None where one is to be started on this machine."""
    from ray._private.services import canonicalize_bootstrap_address

    given = os.environ.get("RAY_ADDRESS") if address == "auto" else address
    if given and "://" in given:
        raise ConfigError(
            f"The Ray address is {given}; it must be HOST:PORT of the head node, on a machine that is part of the "
            "cluster. From elsewhere, submit the command as a job: ray job submit -- sightwords ..."
        )
    # what Ray has noted about the cluster that was last started here; it may have died since
    no_address: Any = None
    found = None if given == "local" else given or canonicalize_bootstrap_address(no_address)
    if found is None or _answers(found):
        return found
    if given:
        raise UnavailableError(f"No Ray cluster answers at {found}. Start one with: ray start --head")
    return None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _DIAL_S):
            return True
    except (OSError, ValueError, OverflowError):
        return False


def _node(entry: dict[str, Any]) -> Node:
    resources = entry["Resources"]
    sizes = (float(resources.get(name, 0)) for name in ("CPU", "GPU", "object_store_memory"))
    return Node(entry["NodeID"], *sizes)


def _store_bytes() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(80 * 2**20, min(_STORE_BYTES, memory // 10))


def _show_worker_logs(ray: Any, shown: bool) -> None:
    """Switch Ray's own reports of dead workers, which `log_to_driver` does not; there is no public switch."""
    worker = ray._private.worker
    if hasattr(worker, "_worker_logs_enabled"):
        worker._worker_logs_enabled = shown


def _forget_token(ray: Any) -> None:
    """Undo that Ray, where it finds or makes a token, makes the whole process use it: other clusters may have none."""
    if os.environ.pop(_AUTH_MODE, None) is not None:
        ray._raylet.Config.initialize("")
        ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Put back the handler of SIGTERM, which `ray.init` replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _patient() -> Iterator[None]:
    """Keep Ray from ending this process before `Cluster.check` has found that the head node is gone."""
    before = os.environ.get(_RECONNECT)
    os.environ.setdefault(_RECONNECT, "3600")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_RECONNECT, None)
