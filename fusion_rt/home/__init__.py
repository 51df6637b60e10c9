"""The home's engine: packets of household sensors in, scenes out.

pipeline = HomePipeline.from_config(HomeConfig(), Plan.load("configs/home/flat.yaml"))
for packet in packets:
    scene = pipeline.push(packet)
"""
