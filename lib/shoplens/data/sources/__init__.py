"""One module per data set, each with `LICENCE` and `prepare(...) -> Catalogue`; `shoplens.data.registry` finds them."""
