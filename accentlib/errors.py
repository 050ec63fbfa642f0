"""What `accentlib` raises: one clear sentence that names the input, the value and what is allowed."""


class AccentError(Exception):
    """Base of every error that `accentlib` raises on purpose."""


class InputError(AccentError, ValueError):
    """A value handed in by the caller is not allowed."""


class DataError(AccentError):
    """A data file is missing, altered, truncated, or cannot be fetched."""
