"""The language of prompts: weights, editing over the steps, composition, textual inversion."""
