"""Records of how pictures were made: signatures, sidecar files, watermarks, PREMIS events.

Nothing in here knows Ray or models; metadata inside of pictures is in `pipeline.metadata`.
"""
