"""From lamellae to reflectivity: dynamical diffraction and the diffuse part."""
