"""Rules: what a home's scene makes devices do, within limits, and with a record of it."""

from fusion_rt.control.audit import AuditLog
from fusion_rt.control.controller import Controller, Decision
from fusion_rt.control.rules import Rules

__all__ = ["AuditLog", "Controller", "Decision", "Rules"]
