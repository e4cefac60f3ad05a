"""Tools built on the pipeline: pictures and requests in, pictures out."""
