"""The server on Ray Serve: replicas of the application, and a door that sends each call to the one it belongs to."""
