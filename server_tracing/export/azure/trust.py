"""Whose certificates are trusted: the system's, and those that the environment names.

Where OpenCensus delivered through a proxy that opens TLS, requests was told of its certificate by
REQUESTS_CA_BUNDLE (or curl's variable); OpenSSL's own are SSL_CERT_FILE and SSL_CERT_DIR. An image without
certificates of its own has those of certifi, which comes with requests.
"""

from __future__ import annotations

import os
import ssl

BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def trusted() -> ssl.SSLContext:
    """A context for connections to others; ValueError for certificates that cannot be read."""
    context = ssl.create_default_context()
    named = [(name, bundle) for name in BUNDLES if (bundle := os.environ.get(name))]
    for name, bundle in named:
        _add(context, name, bundle)
    if not named and not context.cert_store_stats()["x509_ca"] and not _has_folder():
        context.load_verify_locations(_certifi())
    return context


def _add(context: ssl.SSLContext, name: str, bundle: str) -> None:
    try:
        if os.path.isdir(bundle):
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(bundle)
    except OSError as error:
        raise ValueError(f"the certificates named by {name} cannot be read: {error.strerror}") from error


def _has_folder() -> bool:
    """Certificates in a folder are loaded when they are needed, and do not show before."""
    folder = ssl.get_default_verify_paths().capath
    return folder is not None and any(os.scandir(folder))


def _certifi() -> str:
    try:
        import certifi
    except ImportError:
        raise ValueError("this system has no certificates: install ca-certificates, or certifi") from None
    return certifi.where()
