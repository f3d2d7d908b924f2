"""PIC (Royer et al. 2017): a PixelCNN++ conditioned on an embedding of gray; network and colorizer.

It is an alternative to ColTran, and uses neither its core nor its upsamplers.
"""
