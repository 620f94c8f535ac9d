"""Coursework: notebooks of exercises in three versions from one source, and a grader that student code cannot fool."""
