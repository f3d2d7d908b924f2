"""Scores of weights on color photographs, and the page that shows them.

`evaluate` is the door; nothing in here knows runs, plans or results of an archive.
"""
