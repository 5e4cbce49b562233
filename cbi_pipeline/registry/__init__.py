"""Model artifacts and training checkpoints: save, verify, load, promote. Trains and scores nothing."""
