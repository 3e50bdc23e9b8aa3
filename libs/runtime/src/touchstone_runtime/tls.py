"""Which certificates of servers are believed: those signed by a CA of the settings' file, else of the machine's."""

import ssl
from pathlib import Path

import certifi


def trusted_certificates(ca_file: Path | None) -> str:
    """The path of a file in PEM, for clients that take one."""
    if ca_file is not None:
        return str(ca_file)
    return ssl.get_default_verify_paths().cafile or certifi.where()
