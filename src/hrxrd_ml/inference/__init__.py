"""What any fit rests on: likelihoods, coordinates, a solver, covariances, sampling."""
