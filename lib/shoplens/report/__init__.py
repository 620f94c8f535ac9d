"""What is made of finished runs: the report, the README's tables, the page to search with, claims and ambiguities."""
