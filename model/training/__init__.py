"""The training loop of all stages, and what it does to photographs.

It runs without Ray, files or storage; `pipeline.training` feeds it.
"""
