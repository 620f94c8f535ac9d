"""Pictures and their labels: catalogues, image stores, and where each data set comes from."""
