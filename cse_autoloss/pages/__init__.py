"""What pages are made of: elements that escape, the frame that all pages share, and charts."""

from cse_autoloss.pages.charts import Curve, Dot, chart, legend, widened
from cse_autoloss.pages.elements import Safe, details, el, image, table
from cse_autoloss.pages.frame import document, framed

__all__ = [
    "Curve", "Dot", "Safe", "chart", "details", "document", "el", "framed", "image", "legend", "table", "widened",
]  # fmt: skip
