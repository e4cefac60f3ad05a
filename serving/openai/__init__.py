"""OpenAI's images API: its calls become orders, and jobs its answers."""
