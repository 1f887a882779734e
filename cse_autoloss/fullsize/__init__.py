"""Full-size training: torchvision's detectors on folders in COCO's format, with any of our losses.

Importing this imports torch; `models` and `training` need torchvision (the `[torchvision]` extra).
"""
