"""Errors that reach a user as one line, without a traceback."""


class StudyError(Exception):
    """Something in study.yml, a notebook or a request is wrong; the message says what, where and what to do."""
