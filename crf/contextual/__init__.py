"""The contextual CRF: learned potentials between distant places of a coarse map.

Lin, Shen, van den Hengel and Reid, "Efficient Piecewise Training of Deep Structured Models for Semantic Segmentation"
(CVPR 2016), called "the paper" here.

* `coarse`: the coarse map, its places and the edges between them.
* `potentials`: the potential of an edge, a small network.
* `layer`: mean-field inference, as a layer that is exported with the network.
* `learning`: the piecewise loss, by which potentials are learned without inference.
"""
