"""Who may sign seals: one Ed25519 key that signs, and public ones that are still believed."""

from __future__ import annotations

import base64
import functools
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

# allauth reaches what it needs of this package by attributes, and stumbles where somebody else has
# imported a part of the way and not its end.
import cryptography.hazmat.primitives.ciphers  # noqa: F401
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings

SEED_BYTES: Final = 32
_FINGERPRINT_DIGITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that nobody uses yet, both halves in base64."""

    seed: str = field(repr=False)
    public: str
    key_id: str


def sign(digest: bytes) -> tuple[bytes, str]:
    """Sign a seal's digest with the shop's key; returns the signature and the key's fingerprint."""
    key = _signing(settings.AUDIT_SEAL_KEY)
    return key.sign(digest), fingerprint(key.public_key())


def is_known(key_id: str) -> bool:
    """Whether signatures of that key are believed."""
    return key_id in _believed(settings.AUDIT_SEAL_KEY, tuple(settings.AUDIT_SEAL_TRUSTED_KEYS))


def is_signed(digest: bytes, *, signature: bytes, key_id: str) -> bool:
    """Whether a key that is believed has signed this."""
    key = _believed(settings.AUDIT_SEAL_KEY, tuple(settings.AUDIT_SEAL_TRUSTED_KEYS)).get(key_id)
    if key is None:
        return False
    try:
        key.verify(signature, digest)
    except InvalidSignature:
        return False
    return True


def new_key() -> NewKey:
    """Make a key."""
    seed = secrets.token_bytes(SEED_BYTES)
    public = _signing(seed).public_key()
    return NewKey(
        seed=base64.b64encode(seed).decode(),
        public=base64.b64encode(public.public_bytes_raw()).decode(),
        key_id=fingerprint(public),
    )


def public_key() -> str:
    """The public half of the shop's key, in base64: what outlives it in AUDIT_SEAL_TRUSTED_KEYS."""
    public = _signing(settings.AUDIT_SEAL_KEY).public_key()
    return base64.b64encode(public.public_bytes_raw()).decode()


def believed() -> dict[str, str]:
    """The public keys that are believed, in base64, by their fingerprints."""
    keys = _believed(settings.AUDIT_SEAL_KEY, tuple(settings.AUDIT_SEAL_TRUSTED_KEYS))
    return {
        key_id: base64.b64encode(key.public_bytes_raw()).decode() for key_id, key in keys.items()
    }


def fingerprint(key: Ed25519PublicKey) -> str:
    """What a seal calls the key that signed it."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_FINGERPRINT_DIGITS]


def _signing(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


@functools.lru_cache(maxsize=8)
def _believed(seed: bytes, trusted: tuple[bytes, ...]) -> dict[str, Ed25519PublicKey]:
    believed = [_signing(seed).public_key(), *map(Ed25519PublicKey.from_public_bytes, trusted)]
    return {fingerprint(key): key for key in believed}
