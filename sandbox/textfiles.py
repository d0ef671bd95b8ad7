"""A pre-commit hook: files end in one newline, stay small and carry no conflict markers."""

from __future__ import annotations

import sys
from pathlib import Path

LARGEST_BYTES = 1_000_000
MARKERS = (b"<<<<<<< ", b">>>>>>> ")


def main() -> int:
    """Check the files named on the command line; 1 if something is wrong with one."""
    complaints = [line for name in sys.argv[1:] for line in complain(Path(name))]
    print("\n".join(complaints), file=sys.stderr, end="\n" if complaints else "")
    return 1 if complaints else 0


def complain(path: Path) -> list[str]:
    """What is wrong with a file, a line each."""
    content = path.read_bytes()
    found = []
    if len(content) > LARGEST_BYTES:
        found.append(f"{path}: larger than {LARGEST_BYTES} bytes")
    if b"\0" in content:  # not text
        return found
    if content and (not content.endswith(b"\n") or content.endswith(b"\n\n")):
        found.append(f"{path}: must end in exactly one newline")
    if any(line.startswith(MARKERS) for line in content.splitlines()):
        found.append(f"{path}: holds a conflict marker")
    return found


if __name__ == "__main__":
    sys.exit(main())
