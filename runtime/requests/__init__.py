"""What a user wants and gets: requests, their options and checks, results."""
