"""A real Earmark for the tests of a service, with time that the tests can move.

    with earmark.testing.Server() as server, earmark.sync.Client(server.address) as client:
        ...
        server.advance(timedelta(days=365))

For pytest there are fixtures: `earmark.testing.plugin`. It needs the extra `earmark-client[testing]`, which brings
Earmark's servers, and Linux or macOS.
"""

from earmark.testing.server import Server, ServerError, ServerNotInstalled

__all__ = ["Server", "ServerError", "ServerNotInstalled"]
