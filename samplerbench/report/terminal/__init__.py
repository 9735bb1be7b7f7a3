"""What is printed: views as text in a terminal, progress, and what other commands say."""
