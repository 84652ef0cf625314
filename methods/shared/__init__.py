"""What several tracks use and no track owns: data sets, learning by gradient, kernels, mixed precision. Not a track."""
