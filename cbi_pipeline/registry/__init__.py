"""Model artifacts and content-addressed results: save, verify, load, promote. Trains and scores nothing."""
