"""What code does, as a hash: comments, docstrings, blank lines and line breaks count for nothing."""

import ast
import hashlib


def code_text(tree: ast.AST) -> str:
    """The tree as text without docstrings or positions. Takes the docstrings out of `tree`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:]
    return ast.dump(tree)


def short_hash(content: str | bytes) -> str:
    """16 hexadecimal digits of the SHA-256 of a text or of a file's content."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
