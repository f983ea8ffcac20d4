"""What came in is decided on, kept and proven here."""
