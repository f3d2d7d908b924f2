"""Training a stage on Ray Train, from color photographs to weights in a destination.

Import `request` and `ray_train` from here; nothing in here knows runs, plans or results.
"""
