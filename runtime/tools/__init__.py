"""What people do with a pipeline: each tool prepares pictures, has requests run, and puts the results together."""
