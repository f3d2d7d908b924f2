"""Weights from elsewhere: folders and buckets, and checkpoints of TensorFlow.

Nothing in here knows runs; what a weights file is, is told in `model.weights`.
"""
