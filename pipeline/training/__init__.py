"""Training a stage on Ray Train, from color photographs to weights in a destination.

Commands import `request`, `phases` and `ray_train`; evaluation imports `photographs`. Nothing in
here knows the plan or the results of an archive.
"""
