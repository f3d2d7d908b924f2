"""Delivery of results to an archive: copies of pictures with a catalog, as a bag, for IIIF.

It imports storage, metadata, images, ledger, provenance and review; it opens no master, changes
nothing in the destination, and knows neither Ray nor models.
"""
