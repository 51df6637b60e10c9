"""What sensors say, as packets: bytes of radars, topics of household sensors, files, people in images.

All of it is pure: bytes or texts and the time go in, packets come out. Ports, brokers and cameras are the
nodes' business."""
