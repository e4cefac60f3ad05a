"""What made a picture: records, parameters texts, and reading them back."""
