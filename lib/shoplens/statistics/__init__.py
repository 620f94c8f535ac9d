"""ACC, MACC, average precision, and how sure they are."""
