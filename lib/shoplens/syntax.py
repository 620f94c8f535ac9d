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


def short_hash(text: str) -> str:
    """16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
