"""Scores of weights on color photographs, and the page that shows them.

Import `evaluate` from here; nothing in here knows runs, plans or results of an archive.
"""
