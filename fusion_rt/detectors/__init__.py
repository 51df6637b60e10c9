"""Other people's detectors as more evidence: a folder with an ONNX file and detector.yaml about it.

The network's own objects stay what is followed; boxes in an image make them surer or less sure, boxes in
space join them.
"""
