"""Images and their labels: catalogues, decoded images in batches, and the sources of each data set."""
