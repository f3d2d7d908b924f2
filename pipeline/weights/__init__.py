"""Weights from elsewhere: folders and buckets, checkpoints of TensorFlow, files of PyTorch.

Nothing in here knows runs; what a weights file is, is told in `model.weights`.
"""
