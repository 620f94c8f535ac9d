"""ACC and MACC, average precision, their bootstrap intervals, and the verdict on a gain."""
