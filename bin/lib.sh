# Shared by every bin/ command; sourced, never run. POSIX sh.
#
# Sets ROOT, PYTHON and ORDERKEEP_HOME. `ensure_venv` makes .venv/ when it is missing and brings it
# up to the locks when they changed; `ensure_venv dev` adds the development tools.

COMMAND=bin/$(basename "$0")
ROOT=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd -P)
PYTHON=$ROOT/.venv/bin/python

ORDERKEEP_HOME=${ORDERKEEP_HOME:-$ROOT/.local}
case $ORDERKEEP_HOME in /*) ;; *) ORDERKEEP_HOME=$PWD/$ORDERKEEP_HOME ;; esac

# Our own packages are importable from any directory, and nothing else that happens to lie there is.
PYTHONPATH=$ROOT
PYTHONSAFEPATH=1
# Images often ask for no bytecode: each of our processes would compile all modules at its start.
unset PYTHONHOME PYTHONDONTWRITEBYTECODE || true
export COMMAND ROOT PYTHON ORDERKEEP_HOME PYTHONPATH PYTHONSAFEPATH

fail() {
    echo "$COMMAND: $*" >&2
    exit 1
}

# usage TEXT "$@": prints TEXT and leaves when the first argument asks for help.
usage() {
    usage_text=$1
    shift
    case ${1:-} in
        -h | --help)
            echo "usage: $usage_text"
            exit 0
            ;;
    esac
}

# Candidates are run, not looked up: a version manager's shim is on PATH and may still exit 127.
find_python() {
    if [ -n "${ORDERKEEP_PYTHON:-}" ]; then
        set -- "$ORDERKEEP_PYTHON"
    else
        set -- python3.13 python3.12 python3.11 python3
    fi
    reason="no Python 3.11 or newer found (tried $*); set ORDERKEEP_PYTHON to one"
    for candidate in "$@"; do
        "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$candidate" -I -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
        reason="$candidate has no venv or ensurepip (on Debian and Ubuntu: apt install python3-venv)"
    done
    fail "$reason"
}

ensure_venv() {
    if "$PYTHON" -I -c '' 2>/dev/null; then
        bootstrap=$PYTHON
    else
        bootstrap=$(find_python)
    fi
    "$bootstrap" -I "$ROOT/sandbox/bootstrap.py" "$@"
}
