"""The Depth Anything 3 family (arXiv 2511.10647): depth, rays and cameras from any number of views.

``checkpoint.load`` reads a released folder; ``network.DepthAnything3`` and ``nested.NestedNetwork`` run it.
"""
