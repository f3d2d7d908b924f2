"""Training a stage on Ray Train, from color photographs to weights in a destination.

`request` and `ray_train` are the doors; nothing in here knows runs, plans or results.
"""
