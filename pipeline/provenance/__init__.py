"""What outlives a run as a record of its making: signatures, sidecar files, PREMIS events.

Nothing in here knows Ray or models; metadata inside of pictures is in `pipeline.metadata`.
"""
