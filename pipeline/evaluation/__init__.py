"""Scores of weights on color photographs, and the page that shows them.

Import `evaluate` and its `settings` from here. Only `decisions`, which compares scores with what
people decided, reads runs and their results; nothing in here writes to a destination.
"""
