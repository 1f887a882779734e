"""Photographs with boxes, of every common layout: found, read, looked at, repaired."""

from cse_autoloss.tasks.photographs.arrays import PADDING, small_objects, to_splits
from cse_autoloss.tasks.photographs.dataset import Dataset, load_dataset
from cse_autoloss.tasks.photographs.layouts import Source

__all__ = ["PADDING", "Dataset", "Source", "load_dataset", "small_objects", "to_splits"]
