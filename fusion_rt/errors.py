"""The errors of fusion_rt, one tree. Each says what, where, and what to do.

FusionError
├── ConfigError    a configuration file or value
│   └── RigError   the description of the sensors
├── MessageError   a packet or its wire form
├── BusError       sockets, rings, keys
├── LogError       a recording that cannot be read or written
├── DeviceError    a kernel or its arguments
├── EngineError    an inference engine or its model
└── NodeError      a process of the pipeline
"""


class FusionError(Exception):
    """Anything that fusion_rt raises on purpose."""


class ConfigError(FusionError, ValueError):
    """A configuration file or value is wrong.

    Also a ValueError, so that msgspec reports it with the path of the field."""


class RigError(ConfigError):
    """The description of the sensors is wrong."""


class MessageError(FusionError, ValueError):
    """A packet or its wire form is wrong.

    Also a ValueError, so that msgspec reports it with the path of the field."""


class BusError(FusionError):
    """A socket, ring or key."""


class LogError(FusionError):
    """A recording cannot be read or written."""


class DeviceError(FusionError):
    """A kernel or its arguments."""


class EngineError(FusionError):
    """An inference engine or its model."""


class NodeError(FusionError):
    """A process of the pipeline."""
