"""Learning the parameters of a minimization problem by gradient: solvers, hypergradients, MAID and HOAG. Not a track."""
