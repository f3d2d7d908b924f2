"""PIC (Royer et al. 2017): PixelCNN++ given an embedding of gray, as a network and a colorizer.

It stands beside ColTran and knows nothing of its core or upsamplers.
"""
