"""The training loop of all stages, their losses, and the augmentation of photographs.

It knows nothing of Ray, files or storage: `pipeline.training` gives it photographs in memory.
"""
