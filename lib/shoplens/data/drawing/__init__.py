"""The procedural shop behind `data.sources.bazaar`: products as numbers, drawn to pictures with masks and boxes.

    taxonomy   leaves, attributes and their frequencies
    items      one product as numbers: attribute states, shape knobs, colours
    shapes     outlines, strokes and folds of the products, one module per family
    patterns   cloth and prints
    render     sketch to lit pixels
    scenes     backgrounds of shop and consumer pictures
    overlays   promotional text, and things in the camera's way
    compose    one picture of one view, with mask and box
    stream     any number of distractors
"""
