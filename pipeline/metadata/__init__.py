"""EXIF, IPTC and XMP: what a master says of itself, and what its results say.

Bytes in, bytes out; nothing in here knows storage, pixels or runs.
"""
