"""Addresses may hold credentials, which no message, log or row repeats."""

import re

# A user, or a user and a password, which may hold "/", but is no port, and no part of IPv6.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/@\s:\[]+:(?!\d{1,5}(?:/|\s|$))\S*|[^/@\s:]*)@")
_SIGNATURES = re.compile(r"(https?://[^\s?#'\"]*)\?[^\s'\"]*")


def without_secrets(text: str) -> str:
    """A text whose addresses have neither a user with a password nor, on the web, a query, which is
    where signed addresses have their signature."""
    return _SIGNATURES.sub(r"\1?...", _CREDENTIALS.sub("...@", text))
