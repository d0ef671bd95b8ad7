"""The security matrix is whole, its evidence exists, and its page tells of it."""

import ast
from pathlib import Path

from tests.security.rows import EVIDENCE, LATER

ROOT = Path(__file__).parents[2]


def exists(node_id):
    path, _, name = node_id.partition("::")
    if not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text())
    return not name or name in {getattr(node, "name", None) for node in tree.body}


def page():
    lines = [
        f"| {row} | {EVIDENCE.get(row, ('', []))[0]} "
        f"| {', '.join(f'`{one}`' for one in EVIDENCE.get(row, ('', []))[1])} "
        f"| {LATER.get(row, '')} |"
        for row in range(1, 67)
    ]
    return "\n".join(lines)


def test_every_case_has_evidence_or_a_reason():
    assert {*range(1, 67)} - EVIDENCE.keys() - LATER.keys() == set()


def test_all_evidence_exists():
    assert [one for _, ids in EVIDENCE.values() for one in ids if not exists(one)] == []


def test_the_page_tells_the_same():
    assert page() in (ROOT / "docs/security-matrix.md").read_text()
