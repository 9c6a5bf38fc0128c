"""The embedded COS server: for tests, demonstrations and benchmarks on this machine. See docs/server.md."""

from cosxfer.server.options import ServerOptions, ServerStartError
from cosxfer.server.process import RunningServer, running
from cosxfer.server.run import serve

__all__ = ["RunningServer", "ServerOptions", "ServerStartError", "running", "serve"]
