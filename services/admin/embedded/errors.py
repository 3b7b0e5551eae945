"""What can go wrong with an embedded server or a guarded child."""


class EmbeddedError(RuntimeError):
    """A server or a child process could not be started; the message says why and what would help."""


class FolderInUseError(EmbeddedError):
    """Another embedded server works in this data folder."""


class AddressInUseError(EmbeddedError):
    """Another program listens on the port."""
