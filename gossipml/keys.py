"""The key of a peer and the certificate that shows it.

A peer is known by its public key, which the topology file pins; nobody vouches for it. TLS
wants chains that end in a trusted root, so a certificate names as its issuer the digest of the
key that signed it, which is its own, and whoever has the pinned key makes the root that goes
with it. An issuer of a name of its own also tells a key that is not pinned from a forgery.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from gossipml.errors import ConfigError, MissingExtraError

try:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_der_public_key,
    )
    from cryptography.x509.oid import NameOID
except ImportError:
    raise MissingExtraError("cryptography", "standard") from None

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

_ODD = (
    x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)  # what a certificate may have that is neither wrong nor known  # fmt: skip

NAMES = "gossipml://peer/"  # then the id, percent-encoded: the URI that a certificate is for
DAYS = 3650  # that a certificate is good for
EARLY = dt.timedelta(days=1)  # clocks of two machines may differ


class Shown(NamedTuple):
    """What a certificate says."""

    peer: str  # id
    public_key: bytes  # SubjectPublicKeyInfo, DER


def make_key(peer: str, folder: Path, name: str, days: int = DAYS) -> tuple[Path, str]:
    """Make an Ed25519 key and its certificate: ``name.key``, for its owner only, and ``name.crt``.

    Returns
    -------
    tuple of Path and str
        The file of the key, and the public key as topology files pin it.

    Raises
    ------
    ConfigError
        One of the files is there already, or cannot be written; no peer can have this id, or
        no certificate be good for so long.
    """
    if not peer or not peer.isprintable():
        raise ConfigError(f"id {peer!r}, expected printable characters")
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    now = dt.datetime.now(dt.UTC)
    try:
        end = now + dt.timedelta(days=days)
    except OverflowError:
        raise ConfigError(f"days: found {days}, which ends after the year 9999") from None
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name("gossipml peer"))
        .issuer_name(_issuer(_bytes(public)))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(end)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_uri(peer))]), False
        )
        .sign(key, None)
    )
    files = folder / f"{name}.key", folder / f"{name}.crt"
    for file in files:
        if os.path.lexists(file):
            raise ConfigError(f"{file} exists; keys are never overwritten")
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _create(files[0], secret, 0o600)
        _create(files[1], certificate.public_bytes(Encoding.PEM), 0o644)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from None
    return files[0], to_text(_bytes(public))


def read_certificate(file: Path) -> Shown:
    """Return what a certificate in PEM says.

    Raises
    ------
    ConfigError
        The file is missing, holds no certificate, or one that names no peer.
    """
    try:
        return shown(x509.load_pem_x509_certificate(file.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"{file}: found no certificate of a peer: {error}") from None


def shown(certificate: x509.Certificate | bytes) -> Shown:
    """Return what a certificate (or its DER) says; ``ValueError`` if it is not one of a peer."""
    try:
        return _shown(certificate)
    except x509.ExtensionNotFound:
        raise ValueError("it has no subject alternative name") from None
    except _ODD as error:  # whoever made it may have put anything in it
        raise ValueError(str(error)) from None


def _shown(certificate: x509.Certificate | bytes) -> Shown:
    if isinstance(certificate, bytes):
        certificate = x509.load_der_x509_certificate(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith(NAMES):
        raise ValueError(f"its URIs are {uris}, expected one, {NAMES}ID")
    return Shown(unquote(uris[0].removeprefix(NAMES)), _bytes(certificate.public_key()))


def root(public_key: bytes) -> bytes:
    """Return a root certificate (DER) for chains that end in a pinned key.

    Raises
    ------
    ValueError
        It is no public key.
    """
    try:
        key: Any = load_der_public_key(public_key)  # one that cannot sign verifies nothing
        certificate = x509.CertificateBuilder().public_key(key)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    certificate = (
        certificate.subject_name(_issuer(public_key))
        .issuer_name(_issuer(public_key))
        .serial_number(1)
        .not_valid_before(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(9999, 12, 31, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    # of what is trusted, nobody checks who signed
    return certificate.sign(Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)


def to_text(public_key: bytes) -> str:
    """Return a public key as topology files pin it: base64 of its DER, as in a PEM file."""
    return base64.b64encode(public_key).decode()


def from_text(text: str) -> bytes:
    """Return the public key of a pin; ``ValueError`` if it is none."""
    try:
        public_key = base64.b64decode(text, validate=True)
        root(public_key)
    except (binascii.Error, ValueError):
        raise ValueError(f"found {text!r}, expected the base64 of a public key") from None
    return public_key


def _bytes(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _uri(peer: str) -> str:
    return NAMES + quote(peer, safe="")


def _issuer(public_key: bytes) -> x509.Name:
    return _name(hashlib.sha256(public_key).hexdigest())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _create(file: Path, data: bytes, mode: int) -> None:
    """Write a new file, readable as ``mode`` says from its first byte on."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as new:
        new.write(data)
