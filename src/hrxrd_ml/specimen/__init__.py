"""What a sample is made of: depth profiles of strain and damage, films, and the lamellae that they are cut into."""
