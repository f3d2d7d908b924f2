"""Photographs from bytes to gray pixels, and from color back to files.

Nothing in here knows storage, Ray or models; Pillow, imagecodecs and tifffile have one door each.
"""
