"""Where bytes are kept: folders, buckets and a twin in memory, behind one interface.

The only place that knows boto3; it knows nothing of what the bytes mean.
"""
