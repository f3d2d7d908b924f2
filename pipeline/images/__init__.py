"""Photographs from bytes to gray pixels, and from color back to files.

Reading starts in `pillow`, and writing in `encoding`. Nothing in here knows storage, Ray or models.
Pillow, imagecodecs and tifffile are imported by the few files that tests/test_folders.py lists.
"""
