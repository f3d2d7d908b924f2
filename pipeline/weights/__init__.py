"""Weights from elsewhere: folders and buckets, checkpoints of TensorFlow, files of PyTorch.

Nothing in here knows runs; `model.weights` defines what a weights file is.
"""
