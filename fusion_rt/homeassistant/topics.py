"""The names of things at the broker."""

from __future__ import annotations

from msgspec import Struct

from fusion_rt.plan import Plan

BASE = "fusion_rt"
DISCOVERY = "homeassistant"


class Topics(Struct, frozen=True, kw_only=True):
    """Where everything of one site goes: BASE/SITE/..."""

    site: str
    base: str = BASE
    discovery: str = DISCOVERY

    @classmethod
    def of(cls, plan: Plan, base: str = BASE, discovery: str = DISCOVERY) -> Topics:
        """Those of a plan's site."""
        return cls(site=plan.site, base=base, discovery=discovery)

    @property
    def root(self) -> str:
        """What all of ours begin with."""
        return f"{self.base}/{self.site}"

    @property
    def status(self) -> str:
        """Retained: "online", "offline"; also the last will."""
        return f"{self.root}/status"

    @property
    def health(self) -> str:
        """How the home's sensors and the engine do."""
        return f"{self.root}/health"

    @property
    def people(self) -> str:
        """Who is where, if that may be told."""
        return f"{self.root}/people"

    @property
    def intent(self) -> str:
        """What somebody asked for."""
        return f"{self.root}/intent"

    def state(self, room: str) -> str:
        """Retained: what is so in a room."""
        return f"{self.root}/room/{room}/state"

    def why(self, room: str) -> str:
        """What that was concluded from."""
        return f"{self.root}/room/{room}/why"

    def event(self, room: str) -> str:
        """What happened in a room; never retained."""
        return f"{self.root}/room/{room}/event"

    def command(self, name: str) -> str:
        """Where a setting is asked to change ("+": every one)."""
        return f"{self.root}/set/{name}"

    def setting(self, name: str) -> str:
        """Retained: what a setting is."""
        return f"{self.root}/setting/{name}"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.discovery}/status"

    @property
    def hub(self) -> str:
        """The object id of the site's own device."""
        return f"{BASE}_{self.site}"

    def room_device(self, room: str) -> str:
        """The object id of a room's device."""
        return f"{self.hub}_{room}"

    def config(self, object_id: str) -> str:
        """Retained: a device's announcement."""
        return f"{self.discovery}/device/{object_id}/config"
