"""A Zenoh router, by eclipse-zenoh. A thread connects, and connects again."""

from __future__ import annotations

import json
import threading
from typing import Any

from msgspec import Struct

from fusion_rt.errors import ConfigError

RETRY_S = 1.0
LOOK_S = 0.2


class Router(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the router is.

    endpoints    such as tcp/10.0.0.1:7447, tls/router.example:7447; the first that answers
    config_file  Zenoh's own configuration (JSON5), for certificates and the like; `endpoints` are put into it
    """

    endpoints: tuple[str, ...]
    config_file: str | None = None


class ZenohSender:
    """Raises ConfigError: eclipse-zenoh is missing, its configuration is wrong."""

    def __init__(self, router: Router):
        try:
            import zenoh
        except ImportError as error:
            raise ConfigError("the node zenoh needs eclipse-zenoh: pip install 'fusion-rt[zenoh]'") from error
        self._zenoh = zenoh
        self._router = router
        self._session: Any = None
        self._publishers: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._there = False
        self._configure()  # what is wrong is said now
        self._thread = threading.Thread(target=self._keep, name="zenoh", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether a router is there."""
        return self._there

    def send(self, key: str, data: bytes) -> bool:
        """False where the router is away. One that is slow loses what does not fit into its link's queue,
        which Zenoh does not count (CongestionControl.DROP)."""
        if not self._there:
            return False
        with self._lock:
            session = self._session
            if session is None:
                return False
            try:
                publisher = self._publishers.get(key)
                if publisher is None:
                    drop = self._zenoh.CongestionControl.DROP
                    publisher = self._publishers[key] = session.declare_publisher(
                        key, congestion_control=drop
                    )
                publisher.put(data)
            except self._zenoh.ZError:
                return False
        return True

    def close(self) -> None:
        """Disconnect."""
        self._done.set()
        self._thread.join()

    def _configure(self) -> Any:
        zenoh, router = self._zenoh, self._router
        try:
            config = (
                zenoh.Config() if router.config_file is None else zenoh.Config.from_file(router.config_file)
            )
            for key, value in (
                ("mode", "client"),
                ("connect/endpoints", list(router.endpoints)),
                ("scouting/multicast/enabled", False),  # the router is known; nothing is shouted into the net
            ):
                config.insert_json5(key, json.dumps(value))
        except zenoh.ZError as error:
            raise ConfigError(f"zenoh: {error}") from error
        return config

    def _keep(self) -> None:
        """Open a session when there is none, and watch whether its router is there."""
        while not self._done.wait(LOOK_S if self._session is not None else 0.0):
            if self._session is None:
                try:
                    session = self._zenoh.open(self._configure())
                except self._zenoh.ZError:
                    self._done.wait(RETRY_S)
                    continue
                with self._lock:
                    self._session = session
            self._there = bool(self._session.info.routers_zid())
            if not self._there:
                self._drop()
        self._there = False
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            session, self._session = self._session, None
            self._publishers.clear()
        if session is not None:
            session.close()
