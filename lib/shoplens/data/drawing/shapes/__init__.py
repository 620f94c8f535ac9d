"""Outlines of the products that the shop sells, one module per family."""
