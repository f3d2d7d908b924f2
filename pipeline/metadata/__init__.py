"""EXIF, IPTC and XMP: read from masters, and written into results.

Bytes in, bytes out; nothing in here knows storage, pixels or runs.
"""
