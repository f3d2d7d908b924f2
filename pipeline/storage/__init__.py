"""Where bytes are kept: folders, buckets and memory, behind one interface.

The only place that knows boto3; it does not know what the bytes mean.
"""
