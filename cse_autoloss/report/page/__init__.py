"""`report.html`: everything about a run on one page that needs nothing but itself."""

from cse_autoloss.report.page.writer import FILE, PageWriter, shown, write_page

__all__ = ["FILE", "PageWriter", "shown", "write_page"]
