"""Detector proxies: small detectors that a candidate loss is tried on.

A detector receives its losses as callables; it knows nothing of graphs, searches or data sets.
"""
