"""How accurate the engine is, measured through the runtime that serves: see kitti.py and simulated.py."""
