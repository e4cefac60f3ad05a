"""Many users on one device: jobs on schedulers, and the HTTP interfaces that translate to them."""
