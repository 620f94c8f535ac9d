"""P2: protocols, candidate selection by rank, its losses, nearest neighbours and their scores."""
