"""How the shipped model was made: drawings to pictures, VAE, text encoder and U-Net, checkpoint. Not installed."""
