"""Conformance suites: a plug-in of your own passes one of these by subclassing it."""
