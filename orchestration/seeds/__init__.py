"""The seeds: what a row must look like, what every price must cover, and how an edit takes effect."""
