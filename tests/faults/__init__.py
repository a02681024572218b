"""What can go wrong while data are read, models trained and notebooks run, done on purpose."""
