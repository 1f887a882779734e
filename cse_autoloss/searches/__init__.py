"""Searches behind `init / ask / tell`, one folder each."""
