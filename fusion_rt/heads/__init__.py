"""Small trained heads that run on a stream of packets: is the office occupied, how many people are in the
room, what does the person before the radar do, did the wearer fall.

Each takes packets, looks into the past only, lives without any of its sensors, and reads no clock.
"""
