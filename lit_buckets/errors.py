"""What can go wrong, by name.

Every message follows one form: what was given, the rule it breaks, the numbers, one fix.
"""

from __future__ import annotations

__all__ = ["ConfigError", "DataError", "LitBucketsError", "ResumeError"]


class LitBucketsError(Exception):
    """Base class of every error that this package raises on purpose."""


class ConfigError(LitBucketsError, ValueError):
    """A configuration that is misspelt, of a wrong type, or contradicts itself."""


class DataError(LitBucketsError):
    """Data that cannot be trained on: no readable image, a file that changed, too many failures."""


class ResumeError(LitBucketsError):
    """A state that belongs to another plan, seed or dataset."""
