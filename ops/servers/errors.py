"""What can go wrong with a local server."""


class ServerError(Exception):
    """A local server cannot be installed, started or ended; the text says why and what to do."""
