"""Runs a student's program on given arguments, in a process of its own that knows no right answer.

A file for itself: in a container it is all there is, beside Python and NumPy. It reads a request from standard input,
JSON with `cells` (texts to execute in order, each with `own`: is it the answer itself?), `whole` (cells beside the
answer run as they are, not only their definitions), `function`, `calls` (arguments, encoded), `seconds`, `memory` and
`output` (bytes). It writes a line of JSON per thing that happened to standard output.

The program runs in a child that leads a session of its own. What it may reach of the parent is this keeper, whose death
costs that exercise and nothing else.
"""

import ast
import base64
import contextlib
import ctypes
import io
import json
import os
import re
import resource
import signal
import sys

PLAIN = (bool, int, float, str)


def encode(value, numpy):
    """Plain JSON for numbers, texts, None, lists, tuples, dictionaries and NumPy arrays; TypeError, in words, for
    others. Exact types only: a class made to compare equal to everything does not pass."""
    kind = type(value)
    if value is None or kind in PLAIN:
        return value if kind is not float else {"float": value.hex()}
    if kind in (list, tuple):
        return {"list" if kind is list else "tuple": [encode(one, numpy) for one in value]}
    if kind is dict:
        return {"dict": [[encode(key, numpy), encode(one, numpy)] for key, one in value.items()]}
    if kind is numpy.ndarray or isinstance(value, numpy.generic) and kind.__module__ == "numpy":
        if kind is numpy.ndarray and value.dtype.kind == "O":
            raise TypeError("it returns an array of objects")
        file = io.BytesIO()
        numpy.save(file, value, allow_pickle=False)
        return {"array": base64.b64encode(file.getvalue()).decode()}
    raise TypeError(f"it returns a {kind.__name__[:40]}, which is no number, array, text, list, tuple or dictionary")


def decode(value, numpy):
    """What `encode` was given."""
    if not isinstance(value, dict):
        return value
    (kind, content), = value.items()
    if kind == "float":
        return float.fromhex(content)
    if kind == "array":
        array = numpy.load(io.BytesIO(base64.b64decode(content)), allow_pickle=False)
        return array[()] if array.ndim == 0 else array
    if kind == "dict":
        return {decode(key, numpy): decode(one, numpy) for key, one in content}
    items = [decode(one, numpy) for one in content]
    return tuple(items) if kind == "tuple" else items


class OnlyNumPy:
    """Refuses to import anything but the standard library and NumPy."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names | {"numpy"}:
            raise ImportError(f"{name.split('.')[0]} is not there: NumPy and the standard library are")


def definitions(text):
    """Of a cell beside the answer: imports, functions, classes and assignments, each a text of its own."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    return [ast.unparse(node) for node in tree.body if isinstance(node, kept)]


def said(error):
    """An error in words: its type and the line of the answer, and of a missing name which. Messages of other errors
    could carry what the program was called with."""
    if isinstance(error, NotImplementedError):
        return "not answered"
    line, trace = getattr(error, "lineno", 0) if isinstance(error, SyntaxError) else 0, error.__traceback__
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == "answer" else line
        trace = trace.tb_next
    words = f": {str(error)[:80]}" if type(error) in (NameError, ImportError) else ""
    return f"it raises {type(error).__name__}" + (f" in line {line}" if line else "") + words


def without_magic(text):
    """A cell's text without lines that only IPython understands."""
    return re.sub(r"^\s*[%!].*$", "pass", text, flags=re.MULTILINE)


def run(request, tell, check_parent):
    """Execute the cells, then make the calls. tell: writes what happened. check_parent: ends this process where its
    keeper is gone."""
    import numpy
    sys.meta_path.insert(0, OnlyNumPy())
    numpy.seterr(all="ignore")
    tell({"ready": True})
    space = {"__name__": "__main__"}
    for cell in request["cells"]:
        text = without_magic(cell["text"])
        for part in [text] if cell["own"] or request["whole"] else definitions(text):
            try:
                exec(compile(part, "answer" if cell["own"] else "cell", "exec"), space)
            except BaseException as error:
                if cell["own"]:
                    return tell({"failed": said(error)})
    program = space.get(request["function"])
    if not callable(program):
        return tell({"failed": f"there is no function {request['function']}"})
    for call in request["calls"]:
        arguments = decode(call, numpy)
        check_parent()
        try:
            value = program(*arguments)
        except BaseException as error:
            tell({"error": said(error)})
            continue
        try:
            value = encode(value, numpy)
        except (TypeError, RecursionError) as error:
            tell({"error": str(error)})
            continue
        try:
            after = encode(arguments, numpy)
        except TypeError:
            after = None
        tell({"value": value, "after": after})


def main():
    """The keeper: start the child, wait, and leave nothing of it behind."""
    request = json.loads(sys.stdin.buffer.read())
    results = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    keeper, child = os.getpid(), os.fork()
    if child:
        os.close(results)
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
        signal.alarm(10 * request["seconds"] + 60)     # only where nobody waits any more
        status = os.waitpid(child, 0)[1]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os._exit(os.waitstatus_to_exitcode(status) & 255)
    os.setsid()
    if sys.platform == "linux":     # whoever kills the keeper dies with it, before it can kill another
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG
    if os.getppid() != keeper:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"],) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"] + 1,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (request["output"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def tell(what):
        line = memoryview(json.dumps(what).encode() + b"\n")
        while line:
            line = line[os.write(results, line):]
    run(request, tell, lambda: os.getppid() == keeper or os._exit(1))
    tell({"done": True})
    os._exit(0)


if __name__ == "__main__":
    main()
