"""Verifies an export of the audit log without the shop: neither its database nor its code.

    pip install cryptography
    python verify.py audit-2026-11.zip --key BASE64

The file has the rows of whole seals, each followed by its seal, and a signed manifest. From the
rows this computes what the seals were made of: the SHA-256 of each row, their root, the digest of
the seal, and whether it continues the one before. Then it checks the signatures. Where a seal's
rows are not all there, what it keeps of each says which; one may be missing only if another seal,
signed like it, says that rows as old were dropped on purpose. Memory does not grow with the file.

`--key` is the public half of a key that signed: get it from the shop by another way than the file.
Without it the file's own keys are taken, and all that is proven is that nothing was changed since.

This file is a part of Orderkeep and needs nothing else of it; it is put into each export.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

FORMAT = "orderkeep audit export 1"
LOG, MANIFEST, SIGNATURE = "log.jsonl", "manifest.json", "manifest.sig"
TEXTS = ("event_type", "entity_type", "ip_address", "user_agent", "data", "request_id")
COLUMNS = {"id", "created_at", "xid", "entity_id", "user_id", *TEXTS}
LONGEST_LINE = 64 * 1024 * 1024
LARGEST_MANIFEST = 1024 * 1024
MOST_KEPT = 100
_LEAF_BYTES = 48
_COMPRESSED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_SEAL_NAME = b"orderkeep audit seal 1\n"
_SEAL = struct.Struct(">23s32sqqqqqqq32s")
_LEAF = struct.Struct(">qq32s")
_INT8, _BYTEA, _TIMESTAMPTZ = 20, 17, 1184  # PostgreSQL's numbers of these types
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_2000 = datetime(2000, 1, 1, tzinfo=UTC)


class UnreadableExportError(Exception):
    """It is no export of an audit log; says why."""


@dataclass
class Verified:
    """What was looked at, and what is wrong; `findings` are the first of `count`."""

    rows: int = 0
    seals: int = 0
    gone: int = 0
    unsealed: int = 0
    count: int = 0
    findings: list[str] = field(default_factory=list)
    key_ids: list[str] = field(default_factory=list)
    period: tuple[str, str] = ("", "")

    def add(self, finding: str) -> None:
        """Note that something is wrong."""
        self.count += 1
        if len(self.findings) < MOST_KEPT:
            self.findings.append(finding)


# --- what counts ----------------------------------------------------------------------------------


def leaf_of(row: dict[str, Any]) -> bytes:
    """What a seal keeps of a row: id, microseconds since 2000, SHA-256 of all of it.

    The row is put together as PostgreSQL sends one: each column behind its type and its length,
    with a length of -1 for NULL.
    """
    written = _microseconds(_2000, row["created_at"])
    columns: list[tuple[int, bytes | None]] = [
        (_INT8, _number(row["id"])),
        (_TIMESTAMPTZ, _number(written)),
        (_INT8, _number(row["xid"])),
        (_INT8, _number(row["entity_id"])),
        (_INT8, _number(row["user_id"])),
        *((_BYTEA, None if row[name] is None else row[name].encode()) for name in TEXTS),
    ]
    packed = struct.pack(">i", len(columns))
    for kind, value in columns:
        packed += struct.pack(">Ii", kind, -1 if value is None else len(value)) + (value or b"")
    return _LEAF.pack(row["id"], written, hashlib.sha256(packed).digest())


def leaf_of_nothing(row_id: int) -> bytes:
    """What no seal keeps of any row."""
    return _LEAF.pack(row_id, 0, bytes(32))


def in_order(leaves: list[bytes]) -> bytes:
    """The leaves of a seal, by id and time, as its root is made of them."""
    return b"".join(sorted(leaves, key=lambda leaf: _LEAF.unpack(leaf)[:2]))


def compare(
    seal: dict[str, Any], leaves: list[bytes], *, retired_before: str | None
) -> tuple[list[str], int]:
    """Hold rows against their seal; returns what is wrong, and how many were dropped on purpose.

    Args:
        seal: with what it keeps of each row, if need be.
        leaves: of the rows that are there.
        retired_before: rows from before it may be gone; None: none may.
    """
    name = f"seal {seal['number']}"
    if _root(in_order(leaves)) == seal["root"]:
        return [], 0
    limit = None if retired_before is None else _microseconds(_2000, retired_before)
    kept = bytes.fromhex(seal.get("leaves", ""))
    if _root(kept) != seal["root"]:
        newest = None if seal["newest_at"] is None else _microseconds(_2000, seal["newest_at"])
        if kept or leaves or newest is None or limit is None or newest >= limit:
            return [f"the rows of {name} are not those that were sealed"], 0
        return [], seal["row_count"]  # all are retired, and what was kept of them is not any more
    sealed = dict(_parts(kept[n : n + _LEAF_BYTES]) for n in range(0, len(kept), _LEAF_BYTES))
    found = dict(map(_parts, leaves))
    gone = dict(sealed.keys() - found.keys())
    new = {row for row, _ in found.keys() - sealed.keys()}
    altered = {key[0] for key in sealed.keys() & found.keys() if sealed[key] != found[key]}
    altered |= gone.keys() & new
    missing = {
        row
        for row, written in gone.items()
        if row not in new and (limit is None or written >= limit)
    }
    wrong = [
        f"row {row} of {name} is not what it was when it was sealed" for row in sorted(altered)
    ]
    wrong += [f"row {row} of {name} is missing" for row in sorted(missing)]
    wrong += [f"row {row} of {name} was put in later" for row in sorted(new - gone.keys())]
    if len(found) < len(leaves):
        wrong.append(f"rows of {name} stand there twice")
    return wrong, len(gone.keys() - new - missing)


def _root(leaves: bytes) -> str:
    return hashlib.sha256(leaves).hexdigest()


def _parts(leaf: bytes) -> tuple[tuple[int, int], bytes]:
    row, written, sha256 = _LEAF.unpack(leaf)
    return (row, written), sha256


def digest_of(seal: dict[str, Any]) -> bytes:
    """SHA-256 of all that a seal says, but for its digest and its signature."""
    said = _SEAL.pack(
        _SEAL_NAME,
        bytes.fromhex(seal["previous"]),
        *(seal[name] for name in ("number", "from_xid", "to_xid", "row_count")),
        *(
            -(2**63) if seal[name] is None else _microseconds(_1970, seal[name])
            for name in ("newest_at", "retired_before", "created_at")
        ),
        bytes.fromhex(seal["root"]),
    )
    return hashlib.sha256(said).digest()


def manifest_digest(manifest: bytes) -> bytes:
    """What is signed of a manifest: the name comes first, so that it is nothing else's digest."""
    return hashlib.sha256(FORMAT.encode() + b"\n" + manifest).digest()


def fingerprint(public_key: bytes) -> str:
    """What seals call a key."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def _number(value: int | None) -> bytes | None:
    return None if value is None else struct.pack(">q", value)


def _microseconds(epoch: datetime, instant: str) -> int:
    return (datetime.fromisoformat(instant) - epoch) // timedelta(microseconds=1)


# --- verifying ------------------------------------------------------------------------------------


def verify(
    file: IO[bytes],
    *,
    keys: list[bytes],
    on_progress: Callable[[int, int], None] = lambda _rows, _total: None,
) -> Verified:
    """Look at all of an export.

    Args:
        file: the ZIP, opened for reading.
        keys: public keys that are believed, 32 bytes each; none: those of the file.
        on_progress: is told how many of how many rows were looked at.

    Raises:
        UnreadableExportError: it is none.
    """
    try:
        with zipfile.ZipFile(file) as packed:
            return _Verification(packed, keys, on_progress).run()
    except _UNREADABLE as exc:
        raise UnreadableExportError(f"this is no export of an audit log: {exc!r}") from exc


_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, RuntimeError, EOFError),
    *(KeyError, ValueError, TypeError, AttributeError, OverflowError, struct.error),
)
"""What is raised of a file that is broken in one of many ways."""


def _parsed(text: bytes) -> Any:
    """JSON in which no name stands twice: two readers would read two things."""
    return json.loads(text, object_pairs_hook=_named_once)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


class _Verification:
    def __init__(
        self,
        packed: zipfile.ZipFile,
        keys: list[bytes],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self.packed = packed
        self.on_progress = on_progress
        self.found = Verified()
        if {part.compress_type for part in packed.infolist()} - _COMPRESSED:
            raise ValueError("it is compressed in another way")
        raw = self._small(MANIFEST)
        self.manifest = _parsed(raw)
        if self.manifest["format"] != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        told = [base64.b64decode(key) for key in self.manifest["public_keys"].values()]
        self.keys = {
            fingerprint(key): Ed25519PublicKey.from_public_bytes(key) for key in keys or told
        }
        self.found.period = (self.manifest["from"], self.manifest["to"])
        self.found.unsealed = self.manifest["unsealed"]
        self._check_signature_of(raw)

    def run(self) -> Verified:
        before: dict[str, Any] | None = None
        leaves: list[tuple[bytes, dict[str, Any]]] = []
        for line in self._lines():
            if "row" in line:
                row = line["row"]
                if row.keys() != COLUMNS:
                    raise ValueError("a row has other columns than the log")
                leaves.append((leaf_of(row), row))
                self.found.rows += 1
                if self.found.rows % 1_000 == 0:
                    self.on_progress(self.found.rows, self.manifest["rows"])
                continue
            seal = line["seal"]
            self._check_seal(seal, before)
            self._check_rows(seal, leaves)
            before, leaves = seal, []
        self._check_end(before, leaves)
        return self.found

    def _small(self, name: str) -> bytes:
        if self.packed.getinfo(name).file_size > LARGEST_MANIFEST:
            raise ValueError(f"its {name} is too large")
        return self.packed.read(name)

    def _lines(self) -> Iterator[dict[str, Any]]:
        digest, size, count = hashlib.sha256(), 0, 0
        with self.packed.open(LOG) as log:
            while line := log.readline(LONGEST_LINE):
                digest.update(line)
                size, count = size + len(line), count + 1
                yield _parsed(line)
        told = self.manifest["log"]
        if (digest.hexdigest(), size, count) != (told["sha256"], told["bytes"], told["lines"]):
            self.found.add(f"{LOG} is not the file that the manifest describes")

    def _check_signature_of(self, manifest: bytes) -> None:
        said = _parsed(self._small(SIGNATURE))
        if not self._is_signed(manifest_digest(manifest), said["signature"], said["key_id"]):
            self.found.add(
                f"the manifest is not signed by a key that is believed: {said['key_id']}"
            )

    def _is_signed(self, digest: bytes, signature: str, key_id: str) -> bool:
        key = self.keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(bytes.fromhex(signature), digest)
        except InvalidSignature:
            return False
        if key_id not in self.found.key_ids:
            self.found.key_ids.append(key_id)
        return True

    def _is_authentic(self, seal: dict[str, Any], name: str) -> bool:
        if digest_of(seal).hex() != seal["digest"]:
            self.found.add(f"{name} is not what it was when it was made")
        elif not self._is_signed(bytes.fromhex(seal["digest"]), seal["signature"], seal["key_id"]):
            self.found.add(f"{name} is not signed by a key that is believed: {seal['key_id']}")
        else:
            return True
        return False

    def _check_seal(self, seal: dict[str, Any], before: dict[str, Any] | None) -> None:
        name = f"seal {seal['number']}"
        self.found.seals += 1
        self._is_authentic(seal, name)
        if before is None:
            begins = self.manifest["seals"]
            if (seal["number"], seal["previous"]) != (begins["first"], begins["previous"]):
                self.found.add(f"{name} is not the first one that the manifest names")
        elif (seal["number"], seal["previous"], seal["from_xid"]) != (
            before["number"] + 1,
            before["digest"],
            before["to_xid"],
        ):
            self.found.add(f"{name} does not continue seal {before['number']}")

    def _check_rows(self, seal: dict[str, Any], leaves: list[tuple[bytes, dict[str, Any]]]) -> None:
        name = f"seal {seal['number']}"
        for _, row in leaves:
            if not seal["from_xid"] <= row["xid"] < seal["to_xid"]:
                self.found.add(f"row {row['id']} does not belong to {name}")
        by = seal.get("retired_by")
        limit = None
        if by is not None and self._is_authentic(by, f"what retires rows of {name}"):
            limit = by["retired_before"]
        wrong, gone = compare(seal, [leaf for leaf, _ in leaves], retired_before=limit)
        for finding in wrong:
            self.found.add(finding)
        self.found.gone += gone

    def _check_end(self, last: dict[str, Any] | None, leaves: list[Any]) -> None:
        told = self.manifest["seals"]
        if leaves:
            self.found.add(f"{len(leaves)} rows at the end have no seal")
        if last is None or (last["number"], last["digest"]) != (told["last"], told["last_digest"]):
            self.found.add("the last seal is not the one that the manifest names")
        if (self.found.rows, self.found.seals) != (self.manifest["rows"], told["count"]):
            self.found.add("there are not as many rows or seals as the manifest says")


# --- by itself ------------------------------------------------------------------------------------


def parsed_key(text: str) -> bytes:
    """A public key in base64.

    Raises:
        ValueError: it is none.
    """
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != 32:  # noqa: PLR2004 - Ed25519
        raise ValueError(f"{text!r} is no public key: 32 bytes in base64")
    return found


def told(found: Verified, *, has_own_keys: bool) -> str:
    """The outcome in words."""
    lines = [*found.findings]
    if found.count > len(found.findings):
        lines.append(f"and {found.count - len(found.findings)} more")
    signed = ", ".join(found.key_ids) or "nobody"
    counts = f"{found.rows} rows in {found.seals} seals, signed by {signed}"
    if found.gone:
        lines.append(f"{found.gone} rows of these seals were dropped on purpose before.")
    if found.unsealed:
        lines.append(f"{found.unsealed} rows of the period had no seal yet, and are not here.")
    if has_own_keys:
        lines.append("The keys are the file's own: compare them with those that you know.")
    lines.append(f"{found.count} findings: {counts}." if found.count else f"As sealed: {counts}.")
    return "\n".join(lines)


def main() -> int:
    """Verify the file that is named; 0 all is as sealed, 1 something is not, 2 no such file."""
    parser = argparse.ArgumentParser(description="Verify an export of Orderkeep's audit log.")
    parser.add_argument("file")
    parser.add_argument("--key", action="append", default=[], help="a public key, in base64")
    arguments = parser.parse_args()
    try:
        keys = [parsed_key(text) for text in arguments.key]
        with open(arguments.file, "rb") as file:  # noqa: PTH123 - nothing is needed besides
            found = verify(file, keys=keys)
    except (OSError, ValueError, UnreadableExportError) as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - a program
        return 2
    print(told(found, has_own_keys=not keys))  # noqa: T201 - likewise
    return 1 if found.count else 0


if __name__ == "__main__":
    sys.exit(main())
