"""Makes `.venv/` and keeps it equal to the locks; runs on a bare Python, standard library alone.

Safe to kill at any moment and to run twice at once. A marker is written before the venv is
touched and removed last, so that a half-made one is never taken for good; the lock is a kernel
lock, so that a killed installer leaves none behind, and pip holds it too while it outlives us.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOCK = VENV / ".orderkeep.lock"
UNFINISHED = VENV / ".orderkeep.unfinished"
LOCKS = {
    "runtime": ("requirements.txt",),
    "dev": ("requirements.txt", "requirements-dev.txt"),
}


class BootstrapError(Exception):
    """The venv cannot be made; the message says why in one line."""


def main() -> int:
    """Bring the venv up to the locks named on the command line: `runtime` (default) or `dev`."""
    group = sys.argv[1] if len(sys.argv) > 1 else "runtime"
    try:
        ensure(group=group)
    except BootstrapError as error:
        complain(str(error))
        return 1
    except PermissionError as error:
        complain(f"no permission for {error.filename}: use a clone of your own")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def ensure(*, group: str) -> None:
    """Return once the venv holds exactly what the group's locks say; idempotent."""
    if is_current(group):
        return
    VENV.mkdir(exist_ok=True)
    with exclusive() as lock:
        if is_current(group):  # another command did it while this one waited
            return
        if UNFINISHED.exists() or not runs():
            rebuild()
        UNFINISHED.touch()
        install(group, lock)
        for installed in ("runtime", group):  # the development locks include the runtime's
            stamp(installed).write_text(checksum(installed))
        UNFINISHED.unlink()


def is_current(group: str) -> bool:
    """Whether the venv works and was last installed from the locks as they are now."""
    if UNFINISHED.exists() or not stamp(group).exists():
        return False
    return stamp(group).read_text() == checksum(group) and runs()


def stamp(group: str) -> Path:
    """Name the file that remembers which locks were installed."""
    return VENV / f".orderkeep.{group}"


def checksum(group: str) -> str:
    """Digest the group's lock files."""
    digest = hashlib.sha256()
    for name in LOCKS[group]:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def runs() -> bool:
    """Whether the venv's Python starts: the one it was made from may have been removed."""
    if Path(sys.prefix) == VENV:
        return True
    try:
        command = [str(VENV_PYTHON), "-I", "-c", "import pip"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def rebuild() -> None:
    """Make the venv anew, on the Python that runs this; everything but the lock file is removed."""
    UNFINISHED.touch()
    for entry in VENV.iterdir():
        if entry in {LOCK, UNFINISHED}:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    # The base interpreter, not a venv's: an unfinished .venv may be what runs this right now.
    python = getattr(sys, "_base_executable", sys.executable)
    run([python, "-I", "-m", "venv", str(VENV)], what="making .venv/")


def install(group: str, lock: int) -> None:
    """Install the group's locked requirements, every file checked against its hash.

    The locks are whole, so nothing is resolved: a resolver would look at `coverage[toml]`, see a
    release newer than the locked one, and stop because that has no hash.
    """
    complain(f"installing the locked requirements into .venv/ ({group}), this can take a minute")
    requirements = [arg for name in LOCKS[group] for arg in ("-r", str(ROOT / name))]
    command = [str(VENV_PYTHON), "-I", "-m", "pip", "install", "--quiet", "--require-hashes"]
    command += ["--no-deps", "--disable-pip-version-check", "--no-input", *requirements]
    run(command, what="installing the requirements", pass_fds=(lock,))
    check = [str(VENV_PYTHON), "-I", "-m", "pip", "check", "--disable-pip-version-check"]
    run(check, what="checking that the locks are whole")


def run(command: list[str], *, what: str, pass_fds: tuple[int, ...] = ()) -> None:
    """Run a command; its output is shown only if it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        pass_fds=pass_fds,
    )
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise BootstrapError(f"{what} failed (exit code {done.returncode})")


@contextlib.contextmanager
def exclusive() -> Iterator[int]:
    """Hold the venv's lock, waiting for whoever has it."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            complain("waiting for another command that is installing the requirements")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def complain(message: str) -> None:
    """Tell the person at the terminal; standard output belongs to the command itself."""
    print(f"{os.environ.get('COMMAND', 'bootstrap')}: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
