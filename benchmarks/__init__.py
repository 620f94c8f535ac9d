"""Speed and memory beside what one would use instead: `make bench`."""
