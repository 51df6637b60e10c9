"""One short file a process: a node is `run(config, bus)`, and all thinking is in the library.

Installed as `fusion_rt.nodes`; found through the entry-point group `fusion_rt.nodes`, where any package may
declare more."""
