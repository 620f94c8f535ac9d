"""What earlier runs recorded, turned into the plain arguments that the library takes."""
